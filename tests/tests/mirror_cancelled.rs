//! Mirrors: what can be polled can be cancelled, and users' code that panics.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use kvwatch::mirror::{MirrorEnd, MirrorWaitError, Snapshot, Step, read_async};
use kvwatch::{Builder, Change, EndReason, Mirror, Selector};
use kvwatch_tests::bodies::{on_a_thread, poll_once, running};
use kvwatch_tests::mirrors::{ByHand, MirrorWorld};
use kvwatch_tests::worlds::AsyncWorld;
use kvwatch_tests::{Counting, in_every_async_world, in_time};

in_every_async_world![
    reliable_a_cancelled_step_loses_nothing,
    reliable_a_cancelled_wait_is_forgotten,
    clean_a_closer_gives_up_an_async_read,
];

fn a(value: &'static str) -> Change {
    Change::put("a", value)
}

async fn reliable_a_cancelled_step_loses_nothing<W: AsyncWorld + MirrorWorld>() {
    let mut hand = ByHand::<W>::new(Selector::all(), Builder::new());
    let reads = Arc::new(AtomicUsize::new(0));
    let store = hand.store.clone();
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
    let (mirror, mut driver) = Mirror::watch(&hand.hub, Selector::all(), read).unwrap();
    let (woken, waker) = Counting::here();
    // Cancelled in the read: it is begun again.
    assert!(poll_once(driver.step_async(), &waker).is_pending());
    assert!(mirror.view().is_none());
    hand.write([a("1")]).await;
    W::step(&mut driver).await.unwrap();
    assert_eq!(reads.load(Ordering::SeqCst), 2);
    hand.store.assert_is(&mirror.view().unwrap());
    // Cancelled while it waits for events, and after it was woken for one.
    assert!(poll_once(driver.run_async(), &waker).is_pending());
    let seen = woken.woken();
    hand.write([a("2")]).await;
    assert!(woken.woken() > seen);
    let applied = Step::Applied {
        events: 1,
        revision: 2,
    };
    assert_eq!(W::step(&mut driver).await.unwrap(), applied);
    // Cancelled while it waits for what a reader waits for.
    let mut wait = mirror.applied(3);
    assert!(poll_once(&mut wait, &waker).is_pending());
    assert!(poll_once(driver.run_async(), &waker).is_pending());
    let seen = woken.woken();
    hand.write([]).await;
    assert!(woken.woken() > seen);
    assert!(poll_once(driver.run_async(), &waker).is_pending());
    assert_eq!(wait.await.unwrap().revision(), 3);
}

async fn reliable_a_cancelled_wait_is_forgotten<W: AsyncWorld + MirrorWorld>() {
    let mut hand = ByHand::<W>::new(Selector::all(), Builder::new());
    let (mirror, mut driver) =
        Mirror::watch(&hand.hub, Selector::all(), hand.script.reader()).unwrap();
    hand.script.answer(hand.store.snapshot());
    let (cancelled, cancelled_waker) = Counting::here();
    let (waiting, waker) = Counting::here();
    let mut wait = mirror.applied(1);
    assert!(poll_once(&mut wait, &cancelled_waker).is_pending());
    assert!(poll_once(&mut wait, &waker).is_pending());
    assert!(poll_once(mirror.applied(1), &cancelled_waker).is_pending());
    hand.write([a("1")]).await;
    W::step(&mut driver).await.unwrap();
    W::step(&mut driver).await.unwrap();
    assert_eq!((cancelled.woken(), waiting.woken()), (0, 1));
    assert_eq!(wait.now_or_never().unwrap().unwrap().revision(), 1);
}

async fn clean_a_closer_gives_up_an_async_read<W: AsyncWorld + MirrorWorld>() {
    let (_publisher, hub) = running::<W>(Builder::new());
    let read = read_async(|_| std::future::pending::<Result<Snapshot, Infallible>>());
    let (mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read).unwrap();
    let closer = driver.closer();
    let driving = W::spawn(async move { W::run(&mut driver).await });
    on_a_thread(move || closer.close()).await;
    assert_eq!(driving.await.unwrap(), EndReason::Closed);
    assert!(mirror.view().is_none());
}

#[test]
fn a_wait_says_what_it_waited_for() {
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
fn isolated_a_wakers_panic_is_its_own() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker of the user's");
        }
    }
    let (_publisher, hub) = Builder::new().spawn().unwrap();
    let read = |_| Ok::<_, Infallible>(Snapshot::at(7));
    let (mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read).unwrap();
    let mut wait = mirror.applied(1);
    assert!(poll_once(&mut wait, &Arc::new(Panics).into()).is_pending());
    let waiting = in_time_on(mirror.clone());
    assert_eq!(driver.step().unwrap(), Step::Loaded { revision: 7 });
    assert_eq!(waiting.join().unwrap(), 7);
}

fn in_time_on(mirror: Mirror) -> thread::JoinHandle<u64> {
    thread::spawn(|| in_time(move || mirror.wait_for(2, Duration::MAX).unwrap().revision()))
}

#[test]
fn a_reader_that_panics_ends_the_mirror() {
    let (_publisher, hub) = Builder::new().spawn().unwrap();
    let read = |_| -> Result<Snapshot, Infallible> { panic!("a reader of the user's") };
    let (mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read).unwrap();
    assert!(thread::spawn(move || driver.run()).join().is_err());
    assert_eq!(mirror.ended(), Some(MirrorEnd::Dropped));
}
