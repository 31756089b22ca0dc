; What CPython calls without ctypes: METH_O, the address of a plan as an integer.
declare ptr @PyLong_AsVoidPtr(ptr)
declare ptr @PyErr_Occurred()
declare void @PyErr_SetString(ptr, ptr)
declare void @PyErr_SetInterrupt()
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
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
