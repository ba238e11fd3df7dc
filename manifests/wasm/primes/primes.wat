;; Counts primes with the sieve of Eratosthenes, one byte for each number. `primes.wasm` is this text in its binary form.
;;
;;   host-sim catalog run primes --function count --args '[1000000]'
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; A scattered buffer of one part, where it is written to, and the text.
  (data (i32.const 0) "\10\00\00\00\19\00\00\00")
  (data (i32.const 16) "there are 78498 of them!\0a")
  (global $base i32 (i32.const 1024))

  ;; Makes room for so many numbers; traps if there is none.
  (func $reserve (param $below i32)
    (local $pages i32)
    (local.set $pages
      (i32.shr_u (i32.add (i32.add (local.get $below) (global.get $base)) (i32.const 65535)) (i32.const 16)))
    (if (i32.gt_u (local.get $pages) (memory.size)) (then
      (if (i32.eq (memory.grow (i32.sub (local.get $pages) (memory.size))) (i32.const -1)) (then (unreachable))))))

  ;; Gives the number of primes below a number.
  (func $count (export "count") (param $below i32) (result i32)
    (local $at i32) (local $multiple i32) (local $found i32)
    (call $reserve (local.get $below))
    (local.set $at (i32.const 2))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $below)))
      (if (i32.eqz (i32.load8_u (i32.add (global.get $base) (local.get $at)))) (then
        (local.set $found (i32.add (local.get $found) (i32.const 1)))
        (if (i32.lt_u (local.get $at) (i32.const 46341)) (then
          (local.set $multiple (i32.mul (local.get $at) (local.get $at)))
          (block $crossed (loop $cross
            (br_if $crossed (i32.ge_u (local.get $multiple) (local.get $below)))
            (i32.store8 (i32.add (global.get $base) (local.get $multiple)) (i32.const 1))
            (local.set $multiple (i32.add (local.get $multiple) (local.get $at)))
            (br $cross)))))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next)))
    (local.get $found))

  ;; Counts up to a million and says so if it is right.
  (func (export "main") (result i32)
    (local $found i32)
    (local.set $found (call $count (i32.const 1000000)))
    (if (i32.eq (local.get $found) (i32.const 78498)) (then
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
    (local.get $found)))
