; What CPython calls without ctypes: METH_O, the address of a plan as an integer.
declare ptr @PyLong_AsVoidPtr(ptr)
declare ptr @PyErr_Occurred()
declare void @PyErr_SetString(ptr, ptr)
declare void @PyErr_SetInterrupt()
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare i32 @PyObject_SetAttr(ptr, ptr, ptr)
declare ptr @PyLong_FromLongLong(i64)
@PyExc_ValueError = external global ptr
@null_plan = private constant [31 x i8] c"the address of a plan is not 0\00"

define ptr @python_run(ptr %self, ptr %argument) nounwind {
entry:
  %plan = call ptr @PyLong_AsVoidPtr(ptr %argument)
  %null = icmp eq ptr %plan, null
  br i1 %null, label %bad, label %good
bad:
  %raised = call ptr @PyErr_Occurred()
  %quiet = icmp eq ptr %raised, null
  br i1 %quiet, label %raise, label %fail
raise:
  %kind = load ptr, ptr @PyExc_ValueError
  call void @PyErr_SetString(ptr %kind, ptr @null_plan)
  br label %fail
fail:
  ret ptr null
good:
  %flags_p = getelementptr i8, ptr %plan, i64 24
  %flags = load i64, ptr %flags_p
  %one = and i64 %flags, 1
  %release = icmp ne i64 %one, 0
  br i1 %release, label %free, label %held
free:
  %state = call ptr @PyEval_SaveThread()
  %f = call i64 @plan_run(ptr %plan)
  call void @PyEval_RestoreThread(ptr %state)
  br label %end
held:
  %h = call i64 @plan_run(ptr %plan)
  br label %end
end:
  %failed = phi i64 [ %f, %free ], [ %h, %held ]
  %interrupted = load i64, ptr $INTERRUPTED
  %pending = icmp ne i64 %interrupted, 0
  br i1 %pending, label %again, label %out
again:
  store i64 0, ptr $INTERRUPTED
  call void @PyErr_SetInterrupt()
  br label %out
out:
  %result = call ptr @PyLong_FromLongLong(i64 %failed)
  ret ptr %result
}

; METH_FASTCALL: the address of a plan, then one NumPy array for each bound buffer. The arrays'
; addresses are put into the table, natively: the most of a small step was doing that in Python.
; Returns -1, and has done nothing, if an array is not what the plan expects: it must be a
; plain array in row-major order and, where a result is to be written over it, held by nobody
; else; bound.py says how that is seen. So it does if the plan is in use, or is waited for.
; More arguments are a name, objects, and what each gets as its attribute of that name when the
; plan has ended: state is whole again before Python may raise KeyboardInterrupt.
define ptr @python_call(ptr %self, ptr %arguments, i64 %n) nounwind {
entry:
  %first = load ptr, ptr %arguments
  %plan = call ptr @PyLong_AsVoidPtr(ptr %first)
  %count_p = getelementptr i8, ptr %plan, i64 56
  %count = load i64, ptr %count_p
  %n1 = sub i64 %n, 1
  %fits = icmp uge i64 %n1, %count
  br i1 %fits, label %begin, label %refuse
begin:
  %table_p = getelementptr i8, ptr %plan, i64 16
  %table = load ptr, ptr %table_p
  %slots_p = getelementptr i8, ptr %plan, i64 48
  %slots = load ptr, ptr %slots_p
  %over_p = getelementptr i8, ptr %plan, i64 96
  %over = load ptr, ptr %over_p
  %type_p = getelementptr i8, ptr %plan, i64 72
  %type = load ptr, ptr %type_p
  %held_p = getelementptr i8, ptr %plan, i64 80
  %held = load i32, ptr %held_p
  %shared_p = getelementptr i8, ptr %plan, i64 84
  %shared = load i32, ptr %shared_p
  %bytes_p = getelementptr i8, ptr %plan, i64 88
  %bytes = load ptr, ptr %bytes_p
  %objects = getelementptr ptr, ptr %arguments, i64 1
  br label %check
check:
  %i = phi i64 [ 0, %begin ], [ %i1, %checked ]
  %end = icmp eq i64 %i, %count
  br i1 %end, label %take, label %look
look:
  %object_p = getelementptr ptr, ptr %objects, i64 %i
  %object = load ptr, ptr %object_p
  %kind_p = getelementptr i8, ptr %object, i64 8
  %kind = load ptr, ptr %kind_p
  %array = icmp eq ptr %kind, %type
  br i1 %array, label %flags_of, label %refuse
flags_of:
  %flags_at = getelementptr i8, ptr %object, i64 64
  %its_flags = load i32, ptr %flags_at
  %ordered = and i32 %its_flags, 257
  %plain = icmp eq i32 %ordered, 257
  br i1 %plain, label %owner, label %refuse
owner:
  %over_at = getelementptr i64, ptr %over, i64 %i
  %result = load i64, ptr %over_at
  %kept = icmp slt i64 %result, 0
  br i1 %kept, label %checked, label %alone
alone:
  %references = load i32, ptr %object
  %only = icmp eq i32 %references, %held
  br i1 %only, label %base_of, label %refuse
base_of:
  %base_at = getelementptr i8, ptr %object, i64 48
  %base = load ptr, ptr %base_at
  %itself = icmp eq ptr %base, null
  br i1 %itself, label %checked, label %memory
memory:
  %base_kind_p = getelementptr i8, ptr %base, i64 8
  %base_kind = load ptr, ptr %base_kind_p
  %base_array = icmp eq ptr %base_kind, %type
  br i1 %base_array, label %ours, label %refuse
ours:
  %descr_at = getelementptr i8, ptr %base, i64 56
  %descr = load ptr, ptr %descr_at
  %is_ours = icmp eq ptr %descr, %bytes
  %base_references = load i32, ptr %base
  %base_only = icmp eq i32 %base_references, %shared
  %both = and i1 %is_ours, %base_only
  br i1 %both, label %checked, label %refuse
checked:
  %i1 = add i64 %i, 1
  br label %check
take:
  %waiting_p = getelementptr i8, ptr %plan, i64 104
  %waiting = load i64, ptr %waiting_p
  %welcome = icmp eq i64 %waiting, 0
  br i1 %welcome, label %claim, label %refuse
claim:
  %busy = getelementptr i8, ptr %plan, i64 64
  %pair = cmpxchg ptr %busy, i64 0, i64 1 seq_cst seq_cst
  %free = extractvalue { i64, i1 } %pair, 1
  br i1 %free, label %bind, label %refuse
bind:
  %j = phi i64 [ 0, %claim ], [ %j1, %bound ]
  %all = icmp eq i64 %j, %count
  br i1 %all, label %go, label %one
one:
  %bind_p = getelementptr ptr, ptr %objects, i64 %j
  %bind_o = load ptr, ptr %bind_p
  %data_p = getelementptr i8, ptr %bind_o, i64 16
  %data = load ptr, ptr %data_p
  %slot_p = getelementptr i64, ptr %slots, i64 %j
  %slot = load i64, ptr %slot_p
  %entry_p = getelementptr ptr, ptr %table, i64 %slot
  store ptr %data, ptr %entry_p
  %again_p = getelementptr i64, ptr %over, i64 %j
  %again = load i64, ptr %again_p
  %none = icmp slt i64 %again, 0
  br i1 %none, label %bound, label %both_places
both_places:
  %second_p = getelementptr ptr, ptr %table, i64 %again
  store ptr %data, ptr %second_p
  br label %bound
bound:
  %j1 = add i64 %j, 1
  br label %bind
go:
  %done = call ptr @python_run(ptr %self, ptr %first)
  %failed_p = getelementptr i8, ptr %plan, i64 40
  %failed = load i64, ptr %failed_p
  store atomic i64 0, ptr %busy seq_cst, align 8
  %name_p = getelementptr ptr, ptr %objects, i64 %count
  %name_at = add i64 %count, 1
  %whole = icmp eq i64 %failed, 0
  %more = icmp ugt i64 %n1, %count
  %gives = and i1 %whole, %more
  br i1 %gives, label %named, label %out
named:
  %name = load ptr, ptr %name_p
  br label %give
give:
  %g = phi i64 [ %name_at, %named ], [ %g2, %given ]
  %last = icmp uge i64 %g, %n1
  br i1 %last, label %out, label %set
set:
  %owner_p = getelementptr ptr, ptr %objects, i64 %g
  %owner_o = load ptr, ptr %owner_p
  %g1 = add i64 %g, 1
  %value_p = getelementptr ptr, ptr %objects, i64 %g1
  %value_o = load ptr, ptr %value_p
  %wrong = call i32 @PyObject_SetAttr(ptr %owner_o, ptr %name, ptr %value_o)
  %bad = icmp ne i32 %wrong, 0
  br i1 %bad, label %raised, label %given
given:
  %g2 = add i64 %g, 2
  br label %give
raised:
  ret ptr null
out:
  ret ptr %done
refuse:
  %minus = call ptr @PyLong_FromLongLong(i64 -1)
  ret ptr %minus
}
