//! What `wasm.rs` computes: this file is compiled into the benchmark, and once to WebAssembly as `kernels.wat` says at its head,
//! so that both sides are the same program after the same optimiser.
#![cfg_attr(target_arch = "wasm32", no_std)]

/// Numbers that the sieve has room for.
const SIEVE_MAX: usize = 1_000_000;

/// Gives a number of Fibonacci by its definition.
#[cfg_attr(target_arch = "wasm32", no_mangle)]
pub(crate) extern "C" fn fib(n: u32) -> u32 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

/// Counts the primes below a number, which is a million at most, ten times over: the first time it meets memory that the kernel
/// has yet to give, which takes as long as the rest in a new instance and is not computing.
#[cfg_attr(target_arch = "wasm32", no_mangle)]
pub(crate) extern "C" fn sieve(below: u32) -> u32 {
    let mut crossed = [0_u8; SIEVE_MAX];
    let Some(crossed) = crossed.get_mut(..below as usize) else { return 0 };
    (0..10).map(|_| primes(crossed)).sum()
}

#[inline(never)]
fn primes(crossed: &mut [u8]) -> u32 {
    crossed.fill(0);
    let mut found = 0;
    for at in 2..crossed.len() {
        if crossed[at] == 0 {
            found += 1;
            let mut multiple = 2 * at;
            while multiple < crossed.len() {
                crossed[multiple] = 1;
                multiple += at;
            }
        }
    }
    found
}

#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn stop(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
