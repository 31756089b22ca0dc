; The driver: driver.py says how it works and fills in the names that begin with a dollar sign.
@pool = internal global [$SIZE x i8] zeroinitializer, align 128
declare i32 @clock_gettime(i32, ptr)
declare i32 @sched_yield()
$pause_declaration

define ptr @pool_memory() nounwind {
  ret ptr @pool
}

define internal i64 @now() nounwind {
  %time = alloca [2 x i64], align 8
  %r = call i32 @clock_gettime(i32 $monotonic, ptr %time)
  %s = load i64, ptr %time
  %ns_p = getelementptr i64, ptr %time, i64 1
  %ns = load i64, ptr %ns_p
  %s9 = mul i64 %s, 1000000000
  %t = add i64 %s9, %ns
  ret i64 %t
}

define internal void @chunk(ptr %step, ptr %table, i64 %c) nounwind {
  %map_p = getelementptr i8, ptr %step, i64 8
  %extent_p = getelementptr i8, ptr %step, i64 16
  %grain_p = getelementptr i8, ptr %step, i64 24
  %fn = load ptr, ptr %step
  %map = load ptr, ptr %map_p
  %extent = load i64, ptr %extent_p
  %grain = load i64, ptr %grain_p
  %low = mul i64 %c, %grain
  %end = add i64 %low, %grain
  %inside = icmp ult i64 %end, %extent
  %high = select i1 %inside, i64 %end, i64 %extent
  tail call void %fn(ptr %table, ptr %map, i64 %low, i64 %high, i64 %c)
  ret void
}

define internal void @alone(ptr %step, ptr %table, i64 %chunks) nounwind {
entry:
  %none = icmp eq i64 %chunks, 0
  br i1 %none, label %out, label %next
next:
  %c = phi i64 [ 0, %entry ], [ %c1, %next ]
  call void @chunk(ptr %step, ptr %table, i64 %c)
  %c1 = add i64 %c, 1
  %more = icmp ult i64 %c1, %chunks
  br i1 %more, label %next, label %out
out:
  ret void
}

define internal i64 @from_front(ptr %step, ptr %table) nounwind {
entry:
  br label %look
look:
  %taken = phi i64 [ 0, %entry ], [ %taken, %take ], [ %taken1, %mine ]
  %v = load atomic i64, ptr $WORD monotonic, align 8
  %low = and i64 %v, 4294967295
  %high = lshr i64 %v, 32
  %any = icmp ult i64 %low, %high
  br i1 %any, label %take, label %out
take:
  %v1 = add i64 %v, 1
  %swap = cmpxchg ptr $WORD, i64 %v, i64 %v1 acq_rel monotonic
  %won = extractvalue { i64, i1 } %swap, 1
  br i1 %won, label %mine, label %look
mine:
  call void @chunk(ptr %step, ptr %table, i64 %low)
  %taken1 = add i64 %taken, 1
  br label %look
out:
  ret i64 %taken
}

define internal i64 @from_back() nounwind {
entry:
  br label %look
look:
  %taken = phi i64 [ 0, %entry ], [ %taken, %take ], [ %taken1, %mine ]
  %v = load atomic i64, ptr $WORD acquire, align 8
  %low = and i64 %v, 4294967295
  %high = lshr i64 %v, 32
  %any = icmp ult i64 %low, %high
  br i1 %any, label %take, label %out
take:
  %v1 = sub i64 %v, 4294967296
  %swap = cmpxchg ptr $WORD, i64 %v, i64 %v1 acq_rel monotonic
  %won = extractvalue { i64, i1 } %swap, 1
  br i1 %won, label %mine, label %look
mine:
  %c = sub i64 %high, 1
  %step = load ptr, ptr $REGION
  %table = load ptr, ptr $REGION_TABLE
  call void @chunk(ptr %step, ptr %table, i64 %c)
  %taken1 = add i64 %taken, 1
  br label %look
out:
  %some = icmp ne i64 %taken, 0
  br i1 %some, label %report, label %end
report:
  %d = atomicrmw add ptr $DONE, i64 %taken release
  br label %end
end:
  ret i64 %taken
}

define internal void @wake(i64 %most, i64 %workers) nounwind {
entry:
  %cpu = call i32 @here()
  br label %next
next:
  %w = phi i64 [ 0, %entry ], [ %w1, %skip ]
  %left = phi i64 [ %most, %entry ], [ %left1, %skip ]
  %inside = icmp ult i64 %w, %workers
  %wanted = icmp ne i64 %left, 0
  %go = and i1 %inside, %wanted
  br i1 %go, label %look, label %out
look:
  %offset = mul i64 %w, $STRIDE
  %slot = getelementptr i8, ptr $SLOTS, i64 %offset
  %flag = load atomic i32, ptr %slot monotonic, align 4
  %asleep = icmp eq i32 %flag, 1
  br i1 %asleep, label %take, label %skip
take:
  %swap = cmpxchg ptr %slot, i32 1, i32 0 acq_rel monotonic
  %won = extractvalue { i32, i1 } %swap, 1
  br i1 %won, label %mine, label %skip
mine:
  %s = atomicrmw sub ptr $SLEEPERS, i64 1 seq_cst
  call void @rouse(ptr %slot, i32 %cpu)
  %fewer = sub i64 %left, 1
  br label %skip
skip:
  %left1 = phi i64 [ %left, %look ], [ %left, %take ], [ %fewer, %mine ]
  %w1 = add i64 %w, 1
  br label %next
out:
  ret void
}

define void @wake_all(i64 %workers) nounwind {
  call void @wake(i64 -1, i64 %workers)
  ret void
}

define void @worker(i64 %index) nounwind {
entry:
  %offset = mul i64 %index, $STRIDE
  %slot = getelementptr i8, ptr $SLOTS, i64 %offset
  %alive = getelementptr i8, ptr %slot, i64 $SLOT_ALIVE
  %taken_p = getelementptr i8, ptr %slot, i64 $SLOT_TAKEN
  store atomic i32 1, ptr %alive release, align 4
  br label %idle
idle:
  %stop = load atomic i64, ptr $STOP acquire, align 8
  %leave = icmp ne i64 %stop, 0
  br i1 %leave, label %end, label %watch0
watch0:
  %since = call i64 @now()
  %spin = load i64, ptr $SPIN
  %until = add i64 %since, %spin
  br label %watch
watch:
  %k = phi i64 [ 0, %watch0 ], [ %k1, %pause ], [ 0, %clock ]
  %v = load atomic i64, ptr $WORD acquire, align 8
  %low = and i64 %v, 4294967295
  %high = lshr i64 %v, 32
  %any = icmp ult i64 %low, %high
  br i1 %any, label %work, label %pause
pause:
  $pause
  %k1 = add i64 %k, 1
  %again = icmp ult i64 %k1, 32
  br i1 %again, label %watch, label %clock
clock:
  %t = call i64 @now()
  %waited = icmp sge i64 %t, %until
  br i1 %waited, label %sleep, label %watch
work:
  %n = call i64 @from_back()
  %before = load i64, ptr %taken_p
  %after = add i64 %before, %n
  store i64 %after, ptr %taken_p
  br label %idle
sleep:
  store atomic i32 1, ptr %slot seq_cst, align 4
  %s0 = atomicrmw add ptr $SLEEPERS, i64 1 seq_cst
  %v2 = load atomic i64, ptr $WORD seq_cst, align 8
  %low2 = and i64 %v2, 4294967295
  %high2 = lshr i64 %v2, 32
  %any2 = icmp ult i64 %low2, %high2
  %stop2 = load atomic i64, ptr $STOP seq_cst, align 8
  %leave2 = icmp ne i64 %stop2, 0
  %up = or i1 %any2, %leave2
  br i1 %up, label %rise, label %doze
rise:
  %swap = cmpxchg ptr %slot, i32 1, i32 0 acq_rel monotonic
  %won = extractvalue { i32, i1 } %swap, 1
  br i1 %won, label %risen, label %idle
risen:
  %s1 = atomicrmw sub ptr $SLEEPERS, i64 1 seq_cst
  br label %idle
doze:
  %round = phi i64 [ 0, %sleep ], [ %round1, %doze ]
  call void @doze(ptr %slot, i64 %round)
  %round1 = add i64 %round, 1
  %flag = load atomic i32, ptr %slot acquire, align 4
  %still = icmp ne i32 %flag, 0
  br i1 %still, label %doze, label %woken
woken:
  %others = load atomic i64, ptr $SLEEPERS monotonic, align 8
  %v3 = load atomic i64, ptr $WORD monotonic, align 8
  %low3 = and i64 %v3, 4294967295
  %high3 = lshr i64 %v3, 32
  %free = sub i64 %high3, %low3
  %useful = icmp sgt i64 %free, 1
  %asleep = icmp ne i64 %others, 0
  %pass = and i1 %useful, %asleep
  br i1 %pass, label %wake, label %idle
wake:
  %one = icmp eq i64 %free, 2
  %most = select i1 %one, i64 1, i64 2
  %workers = load i64, ptr $WORKERS
  call void @wake(i64 %most, i64 %workers)
  br label %idle
end:
  store atomic i32 0, ptr %alive release, align 4
  ret void
}

define internal void @together(ptr %step, ptr %table, i64 %chunks) nounwind {
entry:
  %free = load atomic i64, ptr $OWNER monotonic, align 8
  %open = icmp eq i64 %free, 0
  br i1 %open, label %claim, label %busy
claim:
  %swap = cmpxchg ptr $OWNER, i64 0, i64 1 acquire monotonic
  %won = extractvalue { i64, i1 } %swap, 1
  br i1 %won, label %publish, label %busy
busy:
  call void @alone(ptr %step, ptr %table, i64 %chunks)
  ret void
publish:
  store ptr %step, ptr $REGION
  store ptr %table, ptr $REGION_TABLE
  %word = shl i64 %chunks, 32
  store atomic i64 %word, ptr $WORD seq_cst, align 8
  %sleepers = load atomic i64, ptr $SLEEPERS seq_cst, align 8
  %all_up = icmp eq i64 %sleepers, 0
  br i1 %all_up, label %work, label %count
count:
  %workers = load i64, ptr $WORKERS
  %awake = sub i64 %workers, %sleepers
  %others = sub i64 %chunks, 1
  %short = sub i64 %others, %awake
  %few = icmp sgt i64 %short, 0
  br i1 %few, label %wake, label %work
wake:
  %one = icmp eq i64 %short, 1
  %most = select i1 %one, i64 1, i64 2
  call void @wake(i64 %most, i64 %workers)
  br label %work
work:
  %mine = call i64 @from_front(ptr %step, ptr %table)
  %theirs = sub i64 %chunks, %mine
  %due0 = load i64, ptr $OWNER_DUE
  %due = add i64 %due0, %theirs
  store i64 %due, ptr $OWNER_DUE
  br label %join
join:
  %k = phi i64 [ 0, %work ], [ %k1, %pause ], [ %k, %yield ]
  %done = load atomic i64, ptr $DONE acquire, align 8
  %ready = icmp eq i64 %done, %due
  br i1 %ready, label %close, label %wait
wait:
  %patient = icmp ult i64 %k, 2000
  br i1 %patient, label %pause, label %yield
pause:
  $pause
  %k1 = add i64 %k, 1
  br label %join
yield:
  %y = call i32 @sched_yield()
  br label %join
close:
  store atomic i64 0, ptr $OWNER release, align 8
  ret void
}

define internal void @shared(ptr %step, ptr %table, i64 %chunks, i64 %flags) nounwind {
entry:
  %serial = and i64 %flags, 2
  %own = icmp ne i64 %serial, 0
  br i1 %own, label %alone, label %ask
ask:
  %started = load atomic i64, ptr $STARTED acquire, align 8
  %unasked = icmp eq i64 %started, 0
  br i1 %unasked, label %start, label %have
start:
  %callback = load ptr, ptr $CALLBACK
  call void %callback()
  br label %have
have:
  %workers = load atomic i64, ptr $WORKERS acquire, align 8
  %none = icmp eq i64 %workers, 0
  br i1 %none, label %alone, label %together
alone:
  tail call void @alone(ptr %step, ptr %table, i64 %chunks)
  ret void
together:
  tail call void @together(ptr %step, ptr %table, i64 %chunks)
  ret void
}

define i64 @plan_run(ptr %plan) nounwind {
entry:
  %count_p = getelementptr i8, ptr %plan, i64 8
  %table_p = getelementptr i8, ptr %plan, i64 16
  %flags_p = getelementptr i8, ptr %plan, i64 24
  %error_pp = getelementptr i8, ptr %plan, i64 32
  %failed_p = getelementptr i8, ptr %plan, i64 40
  %steps = load ptr, ptr %plan
  %count = load i64, ptr %count_p
  %table = load ptr, ptr %table_p
  %flags = load i64, ptr %flags_p
  %timed2 = and i64 %flags, 2
  %timed = icmp ne i64 %timed2, 0
  store i64 0, ptr %failed_p
  %empty = icmp eq i64 %count, 0
  br i1 %empty, label %out, label %step
step:
  %i = phi i64 [ 0, %entry ], [ %i1, %next ]
  %offset = shl i64 %i, 6
  %s = getelementptr i8, ptr %steps, i64 %offset
  %chunks_p = getelementptr i8, ptr %s, i64 32
  %step_flags_p = getelementptr i8, ptr %s, i64 40
  %chunks = load i64, ptr %chunks_p
  %step_flags = load i64, ptr %step_flags_p
  br i1 %timed, label %before, label %go
before:
  %t0 = call i64 @now()
  br label %go
go:
  %since = phi i64 [ 0, %step ], [ %t0, %before ]
  %single = icmp eq i64 %chunks, 1
  br i1 %single, label %one, label %several
one:
  call void @chunk(ptr %s, ptr %table, i64 0)
  br label %done
several:
  call void @shared(ptr %s, ptr %table, i64 %chunks, i64 %step_flags)
  br label %done
done:
  br i1 %timed, label %after, label %checked
after:
  %t1 = call i64 @now()
  %spent = sub i64 %t1, %since
  %ticks_p = getelementptr i8, ptr %s, i64 48
  %ticks = load i64, ptr %ticks_p
  %sum = add i64 %ticks, %spent
  store i64 %sum, ptr %ticks_p
  br label %checked
checked:
  %check = and i64 %step_flags, 1
  %must = icmp ne i64 %check, 0
  br i1 %must, label %test, label %next
test:
  %error_p = load ptr, ptr %error_pp
  %error = load i64, ptr %error_p
  %bad = icmp ne i64 %error, 0
  br i1 %bad, label %fail, label %next
next:
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %count
  br i1 %more, label %step, label %out
out:
  ret i64 0
fail:
  %number = add i64 %i, 1
  store i64 %number, ptr %failed_p
  ret i64 %number
}
