;; Arithmetic. `main.wasm` is this text in its binary form: `wat2wasm main.wat -o main.wasm`.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; A buffer of one part for `fd_write`, where it tells how much it wrote, and the text.
  (data (i32.const 0) "\10\00\00\00\1e\00\00\00")
  (data (i32.const 16) "21 is the gcd of 1071 and 462\0a")

  ;; Gives the greatest common divisor of two numbers, by Euclid.
  (func $gcd (export "gcd") (param $a i64) (param $b i64) (result i64)
    (local $rest i64)
    (block $done (loop $next
      (br_if $done (i64.eqz (local.get $b)))
      (local.set $rest (i64.rem_s (local.get $a) (local.get $b)))
      (local.set $a (local.get $b))
      (local.set $b (local.get $rest))
      (br $next)))
    (local.get $a))

  ;; Gives a Fibonacci number.
  (func $fibonacci (export "fibonacci") (param $index i64) (result i64)
    (local $current i64) (local $next i64) (local $sum i64)
    (local.set $next (i64.const 1))
    (block $done (loop $again
      (br_if $done (i64.le_s (local.get $index) (i64.const 0)))
      (local.set $sum (i64.add (local.get $current) (local.get $next)))
      (local.set $current (local.get $next))
      (local.set $next (local.get $sum))
      (local.set $index (i64.sub (local.get $index) (i64.const 1)))
      (br $again)))
    (local.get $current))

  ;; What runs if nobody names a function.
  (func (export "main") (result i64)
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $gcd (i64.const 1071) (i64.const 462)))

  ;; Traps at what does not hold, and gives how many things hold.
  (func (export "test") (result i32)
    (if (i64.ne (call $gcd (i64.const 48) (i64.const 36)) (i64.const 12)) (then (unreachable)))
    (if (i64.ne (call $gcd (i64.const 7) (i64.const 0)) (i64.const 7)) (then (unreachable)))
    (if (i64.ne (call $fibonacci (i64.const 10)) (i64.const 55)) (then (unreachable)))
    (if (i64.ne (call $fibonacci (i64.const 0)) (i64.const 0)) (then (unreachable)))
    (i32.const 4)))
