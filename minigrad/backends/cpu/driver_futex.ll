; Sleeping and waking on Linux. A worker's flag is set while it sleeps; who clears it wakes it.
declare i64 @syscall(i64, ...)
declare i32 @sched_getcpu()
declare i32 @sched_setaffinity(i32, i64, ptr)
declare i64 @llvm.vector.reduce.or.v16i64(<16 x i64>)

define internal void @doze(ptr %flag, i64 %round) nounwind {
  %r = call i64 (i64, ...) @syscall(i64 $futex, ptr %flag, i64 128, i64 1, ptr null)
  ret void
}

define internal void @rouse(ptr %slot, i32 %cpu) nounwind {
entry:
  %mask = alloca <16 x i64>, align 64
  %may = load i64, ptr $CPUS
  %affine = icmp ne i64 %may, 0
  %excluded_p = getelementptr i8, ptr %slot, i64 $SLOT_EXCLUDED
  %excluded = load i32, ptr %excluded_p
  %differs = icmp ne i32 %excluded, %cpu
  %known = icmp ult i32 %cpu, 1024
  %a = and i1 %affine, %differs
  %b = and i1 %a, %known
  br i1 %b, label %move, label %wake
move:
  %all = load <16 x i64>, ptr $MASK, align 64
  store <16 x i64> %all, ptr %mask, align 64
  %word = lshr i32 %cpu, 6
  %bit = and i32 %cpu, 63
  %bit64 = zext i32 %bit to i64
  %one = shl i64 1, %bit64
  %others = xor i64 %one, -1
  %p = getelementptr i64, ptr %mask, i32 %word
  %old = load i64, ptr %p
  %new = and i64 %old, %others
  store i64 %new, ptr %p
  %left = load <16 x i64>, ptr %mask, align 64
  %any = call i64 @llvm.vector.reduce.or.v16i64(<16 x i64> %left)
  %some = icmp ne i64 %any, 0
  br i1 %some, label %set, label %wake
set:
  %thread_p = getelementptr i8, ptr %slot, i64 $SLOT_THREAD
  %thread = load i32, ptr %thread_p
  %e = call i32 @sched_setaffinity(i32 %thread, i64 128, ptr %mask)
  store i32 %cpu, ptr %excluded_p
  br label %wake
wake:
  %r = call i64 (i64, ...) @syscall(i64 $futex, ptr %slot, i64 129, i64 1)
  ret void
}

define internal i32 @here() nounwind {
  %c = call i32 @sched_getcpu()
  ret i32 %c
}
