//! The fence around every entry: no panic crosses the boundary.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use abi_stable::std_types::RResult;
use async_ffi::FfiFuture;
use tokio::runtime::Handle;

use super::trace;
use crate::contract::error::{AbiResult, Fut};
use crate::{Code, Error};

/// Runs an entry; a panic becomes an error. The answer is made inside the fence, so that it is moved once.
pub(super) fn guard<T>(entry: impl FnOnce() -> Result<T, Error>) -> AbiResult<T> {
    let answer = || match entry() {
        Ok(value) => RResult::ROk(value),
        Err(error) => refused(error),
    };
    catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|payload| refused(panicked(payload)))
}

/// Kept out of the way of answers.
#[cold]
fn refused<T>(error: Error) -> AbiResult<T> {
    RResult::RErr(error.into())
}

/// Runs an entry that answers no error; a panic becomes the fallback.
pub(super) fn guard_or<T>(fallback: T, entry: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(entry)) {
        Ok(value) => value,
        Err(payload) => {
            drop(panicked(payload));
            fallback
        }
    }
}

/// Wraps a future so that every poll happens inside the runtime and under the caller's span, and a panic ends it with
/// an error. The future is polled on the caller's thread: it must not block.
pub(super) fn entered<T, F>(handle: Handle, trace_parent: u64, future: F) -> Fut<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    FfiFuture::new(async move {
        let mut future = pin!(future);
        poll_fn(|context| {
            let polled = catch_unwind(AssertUnwindSafe(|| {
                let _runtime = handle.enter();
                let _parent = trace::enter_parent(trace_parent);
                future.as_mut().poll(context)
            }));
            match polled {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(Ok(value))) => Poll::Ready(RResult::ROk(value)),
                Ok(Poll::Ready(Err(error))) => Poll::Ready(RResult::RErr(error.into())),
                Err(payload) => Poll::Ready(RResult::RErr(panicked(payload).into())),
            }
        })
        .await
    })
}

/// Turns what a panic carried into an error. Dropping the payload may panic too; that is contained as well.
pub(super) fn panicked(payload: Box<dyn Any + Send>) -> Error {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text".to_owned());
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    Error::new(Code::PANIC, format!("extension panicked: {message}"))
}

/// Sends this library's panics to the host's log. A library has its own copy of the standard library, so the host's
/// hook never sees them.
pub(super) fn forward_panics() {
    std::panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        let thread = std::thread::current();
        if let Some(host) = trace::host() {
            host.log(1, "panic", &format!("thread `{}` {info}", thread.name().unwrap_or("unnamed")));
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PanicsOnDrop;

    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("again");
        }
    }

    #[test]
    fn panics_become_errors_even_when_their_payload_panics_too() {
        let text = guard::<()>(|| panic!("boom {}", 1)).into_result().expect_err("panicked");
        assert_eq!((text.code, text.message.as_str()), (Code::PANIC, "extension panicked: boom 1"));
        let nasty = guard::<()>(|| std::panic::panic_any(PanicsOnDrop)).into_result().expect_err("panicked");
        assert_eq!(nasty.code, Code::PANIC);
        assert_eq!(guard_or(7, || panic!("x")), 7);
    }

    #[test]
    fn a_future_is_polled_inside_the_runtime_of_the_extension() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("starts");
        let future = entered(runtime.handle().clone(), 0, async {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            Ok(Handle::try_current().is_ok())
        });
        // Polled by an executor that knows nothing of tokio.
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
        let mut future = pin!(future);
        let answer = loop {
            if let Poll::Ready(answer) = future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
                break answer;
            }
            std::thread::park();
        };
        assert!(answer.into_result().expect("ends well"));
    }
}
