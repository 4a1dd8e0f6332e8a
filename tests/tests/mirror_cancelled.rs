//! Mirrors: cancelled futures, and panics in the user's code.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use kvwatch::mirror::{MirrorEnd, MirrorWaitError, Snapshot, Step, read_async};
use kvwatch::{Builder, Change, EndReason, Mirror, Selector};
use kvwatch_tests::mirrors::{MirrorFixture, MirrorRuntime};
use kvwatch_tests::runtimes::AsyncRuntime;
use kvwatch_tests::shared::{on_a_thread, poll_once, running};
use kvwatch_tests::{CountingWaker, in_every_async_runtime, in_time};

in_every_async_runtime![
    reliable_nothing_is_lost_when_a_step_is_cancelled,
    reliable_only_the_last_waker_is_called_when_a_wait_is_cancelled,
    clean_async_read_is_dropped_when_the_driver_is_closed,
];

fn a(value: &'static str) -> Change {
    Change::put("a", value)
}

async fn reliable_nothing_is_lost_when_a_step_is_cancelled<Rt: AsyncRuntime + MirrorRuntime>() {
    let mut fixture = MirrorFixture::<Rt>::new(Selector::all(), Builder::new());
    let reads = Arc::new(AtomicUsize::new(0));
    let store = fixture.store.clone();
    let counting = Arc::clone(&reads);
    let read = read_async(move |_| {
        let (store, counting) = (store.clone(), Arc::clone(&counting));
        async move {
            let first = counting.fetch_add(1, Ordering::SeqCst) == 0;
            if first {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(store.snapshot())
        }
    });
    let (mirror, mut driver) = Mirror::watch(&fixture.hub, Selector::all(), read).unwrap();
    let (woken, waker) = CountingWaker::pair();
    // Cancelled during the read: the read starts again.
    assert!(poll_once(driver.step_async(), &waker).is_pending());
    assert!(mirror.view().is_none());
    fixture.write([a("1")]).await;
    Rt::step(&mut driver).await.unwrap();
    assert_eq!(reads.load(Ordering::SeqCst), 2);
    fixture.store.assert_is(&mirror.view().unwrap());
    // Cancelled while it waits for events, and after a wake-up.
    assert!(poll_once(driver.run_async(), &waker).is_pending());
    let seen = woken.calls();
    fixture.write([a("2")]).await;
    assert!(woken.calls() > seen);
    let applied = Step::Applied {
        events: 1,
        revision: 2,
    };
    assert_eq!(Rt::step(&mut driver).await.unwrap(), applied);
    // Cancelled while a reader waits for a revision.
    let mut wait = mirror.wait_for_async(3);
    assert!(poll_once(&mut wait, &waker).is_pending());
    assert!(poll_once(driver.run_async(), &waker).is_pending());
    let seen = woken.calls();
    fixture.write([]).await;
    assert!(woken.calls() > seen);
    assert!(poll_once(driver.run_async(), &waker).is_pending());
    assert_eq!(wait.await.unwrap().revision(), 3);
}

async fn reliable_only_the_last_waker_is_called_when_a_wait_is_cancelled<
    Rt: AsyncRuntime + MirrorRuntime,
>() {
    let mut fixture = MirrorFixture::<Rt>::new(Selector::all(), Builder::new());
    let (mirror, mut driver) =
        Mirror::watch(&fixture.hub, Selector::all(), fixture.script.reader()).unwrap();
    fixture.script.answer(fixture.store.snapshot());
    let (cancelled, cancelled_waker) = CountingWaker::pair();
    let (waiting, waker) = CountingWaker::pair();
    let mut wait = mirror.wait_for_async(1);
    assert!(poll_once(&mut wait, &cancelled_waker).is_pending());
    assert!(poll_once(&mut wait, &waker).is_pending());
    assert!(poll_once(mirror.wait_for_async(1), &cancelled_waker).is_pending());
    fixture.write([a("1")]).await;
    Rt::step(&mut driver).await.unwrap();
    Rt::step(&mut driver).await.unwrap();
    assert_eq!((cancelled.calls(), waiting.calls()), (0, 1));
    assert_eq!(wait.now_or_never().unwrap().unwrap().revision(), 1);
}

async fn clean_async_read_is_dropped_when_the_driver_is_closed<Rt: AsyncRuntime + MirrorRuntime>() {
    let (_publisher, hub) = running::<Rt>(Builder::new());
    let read = read_async(|_| std::future::pending::<Result<Snapshot, Infallible>>());
    let (mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read).unwrap();
    let closer = driver.closer();
    let driving = Rt::spawn(async move { Rt::run(&mut driver).await });
    on_a_thread(move || closer.close()).await;
    assert_eq!(driving.await.unwrap(), EndReason::Closed);
    assert!(mirror.view().is_none());
}

#[test]
fn timeout_of_a_wait_names_both_revisions() {
    let (_publisher, hub) = Builder::new().spawn().unwrap();
    let read = |_| Ok::<_, Infallible>(Snapshot::at(0));
    let (mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read).unwrap();
    let timeout = |applied| MirrorWaitError::Timeout { wanted: 5, applied };
    let waited = || mirror.wait_for(5, Duration::ZERO).unwrap_err();
    assert_eq!(waited(), timeout(None));
    driver.step().unwrap();
    assert_eq!(waited(), timeout(Some(0)));
}

#[test]
fn isolated_other_waits_return_when_a_waker_panics() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker of the user's");
        }
    }
    let (_publisher, hub) = Builder::new().spawn().unwrap();
    let read = |_| Ok::<_, Infallible>(Snapshot::at(7));
    let (mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read).unwrap();
    let mut wait = mirror.wait_for_async(1);
    assert!(poll_once(&mut wait, &Arc::new(Panics).into()).is_pending());
    let waiting = spawn_wait(mirror.clone());
    assert_eq!(driver.step().unwrap(), Step::Loaded { revision: 7 });
    assert_eq!(waiting.join().unwrap(), 7);
}

fn spawn_wait(mirror: Mirror) -> thread::JoinHandle<u64> {
    thread::spawn(|| in_time(move || mirror.wait_for(2, Duration::MAX).unwrap().revision()))
}

#[test]
fn clean_mirror_ends_when_the_reader_panics() {
    let (_publisher, hub) = Builder::new().spawn().unwrap();
    let read = |_| -> Result<Snapshot, Infallible> { panic!("a reader of the user's") };
    let (mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read).unwrap();
    assert!(thread::spawn(move || driver.run()).join().is_err());
    assert_eq!(mirror.end_reason(), Some(MirrorEnd::Dropped));
}
