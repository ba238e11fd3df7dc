;; `kernels.rs` as rustc 1.95.0 compiles it, printed by wasmprinter, less what nothing here uses:
;; rustc --edition 2021 -C opt-level=3 -C panic=abort -C strip=symbols --target wasm32-unknown-unknown --crate-type cdylib kernels.rs
(module
  (type (;0;) (func (param i32 i32) (result i32)))
  (type (;1;) (func (param i32) (result i32)))
  (memory (;0;) 16)
  (global (;0;) (mut i32) i32.const 1048576)
  (export "memory" (memory 0))
  (export "fib" (func 1))
  (export "sieve" (func 2))
  (func (;0;) (type 0) (param i32 i32) (result i32)
    (local i32 i32 i32)
    i32.const 0
    local.set 2
    block ;; label = @1
      local.get 1
      i32.eqz
      br_if 0 (;@1;)
      local.get 0
      i32.const 0
      local.get 1
      memory.fill
    end
    block ;; label = @1
      local.get 1
      i32.const 3
      i32.lt_u
      br_if 0 (;@1;)
      i32.const 2
      local.set 3
      i32.const 0
      local.set 2
      loop ;; label = @2
        block ;; label = @3
          local.get 0
          local.get 3
          i32.add
          i32.load8_u
          br_if 0 (;@3;)
          local.get 2
          i32.const 1
          i32.add
          local.set 2
          local.get 3
          i32.const 1
          i32.shl
          local.tee 4
          local.get 1
          i32.ge_u
          br_if 0 (;@3;)
          loop ;; label = @4
            local.get 0
            local.get 4
            i32.add
            i32.const 1
            i32.store8
            local.get 4
            local.get 3
            i32.add
            local.tee 4
            local.get 1
            i32.lt_u
            br_if 0 (;@4;)
          end
        end
        local.get 3
        i32.const 1
        i32.add
        local.tee 3
        local.get 1
        i32.ne
        br_if 0 (;@2;)
      end
    end
    local.get 2
  )
  (func (;1;) (type 1) (param i32) (result i32)
    (local i32)
    i32.const 0
    local.set 1
    block ;; label = @1
      local.get 0
      i32.const 2
      i32.lt_u
      br_if 0 (;@1;)
      i32.const 0
      local.set 1
      loop ;; label = @2
        local.get 0
        i32.const -1
        i32.add
        call 1
        local.get 1
        i32.add
        local.set 1
        local.get 0
        i32.const -2
        i32.add
        local.tee 0
        i32.const 1
        i32.gt_u
        br_if 0 (;@2;)
      end
    end
    local.get 0
    local.get 1
    i32.add
  )
  (func (;2;) (type 1) (param i32) (result i32)
    (local i32 i32)
    global.get 0
    i32.const 1000000
    i32.sub
    local.tee 1
    global.set 0
    i32.const 0
    local.set 2
    local.get 1
    i32.const 0
    i32.const 1000000
    memory.fill
    block ;; label = @1
      local.get 0
      i32.const 1000000
      i32.gt_u
      br_if 0 (;@1;)
      local.get 1
      local.get 0
      call 0
      local.get 1
      local.get 0
      call 0
      i32.add
      local.get 1
      local.get 0
      call 0
      i32.add
      local.get 1
      local.get 0
      call 0
      i32.add
      local.get 1
      local.get 0
      call 0
      i32.add
      local.get 1
      local.get 0
      call 0
      i32.add
      local.get 1
      local.get 0
      call 0
      i32.add
      local.get 1
      local.get 0
      call 0
      i32.add
      local.get 1
      local.get 0
      call 0
      i32.add
      local.get 1
      local.get 0
      call 0
      i32.add
      local.set 2
    end
    local.get 1
    i32.const 1000000
    i32.add
    global.set 0
    local.get 2
  )
)
