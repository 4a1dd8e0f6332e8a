//! Wakers that block, publish or panic. A waker is user code, and runs on a thread that dispatches.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use kvwatch::{Builder, PublishErrorKind, Publisher, RecvError, Selector, Watcher};
use kvwatch_tests::{
    HANG, dropped, eventually, in_time, inline_engine, join_in_time, put, ready_revisions,
};

/// Registers a waker at a watcher that has nothing to receive.
fn wait_with(watcher: &mut Watcher, waker: &Waker) {
    let polled = watcher.poll_recv(&mut Context::from_waker(waker));
    assert!(matches!(polled, Poll::Pending));
}

/// A waker that blocks until it is released.
#[derive(Default)]
struct Blocking {
    called: AtomicUsize,
    released: Mutex<bool>,
    release: Condvar,
}

impl Blocking {
    fn release(&self) {
        *self.released.lock().unwrap() = true;
        self.release.notify_all();
    }
}

impl Wake for Blocking {
    fn wake(self: Arc<Self>) {
        self.called.fetch_add(1, Ordering::SeqCst);
        let guard = self.released.lock().unwrap();
        drop(self.release.wait_while(guard, |released| !*released));
    }
}

#[test]
fn bounded_publishing_goes_on_until_the_ingress_is_full_when_a_waker_blocks() {
    let builder = Builder::new().inline_dispatch(false).ingress_capacity(8);
    let (mut publisher, hub) = builder.spawn().unwrap();
    let mut stuck = hub.watch("stuck").unwrap();
    let mut other = hub.watch("other").unwrap();
    let blocking = Arc::new(Blocking::default());
    wait_with(&mut stuck, &Waker::from(Arc::clone(&blocking)));
    publisher
        .publish_many([(1, vec![put("other")]), (2, vec![put("stuck")])])
        .unwrap();
    eventually("the waker blocks", || {
        blocking.called.load(Ordering::SeqCst) == 1
    });
    // It holds no lock: everything but dispatching goes on.
    let refused = loop {
        if let Err(refused) = publisher.try_publish(put("other")) {
            break refused;
        }
    };
    assert!(matches!(refused.kind(), PublishErrorKind::Full { .. }));
    assert_eq!(publisher.revision(), 10, "eight messages found room");
    assert_eq!(ready_revisions(&mut other), [1], "what is in its queue");
    assert_eq!(hub.stats().watchers.total, 2);
    let mut late = hub.watch("other").unwrap();
    drop(hub.watch("stuck").unwrap());
    assert_eq!(ready_revisions(&mut stuck), [2]);
    blocking.release();
    hub.wait_for(10, HANG).unwrap();
    let revisions: Vec<_> = (3..=10).collect();
    assert_eq!(ready_revisions(&mut other), revisions);
    assert_eq!(ready_revisions(&mut late), []);
}

/// Fills the ingress, and then publishes in every other way.
struct Filling {
    publisher: Mutex<Option<Publisher>>,
    refused: Mutex<Vec<PublishErrorKind>>,
}

impl Wake for Filling {
    fn wake(self: Arc<Self>) {
        let Some(mut publisher) = self.publisher.lock().unwrap().take() else {
            return;
        };
        while publisher.try_publish(put("made")).is_ok() {}
        let refused = [
            publisher.publish(put("more")).unwrap_err(),
            publisher.publish_timeout(put("more"), HANG).unwrap_err(),
        ];
        publisher.publish_lossy(put("more")).unwrap();
        for refused in refused {
            assert_eq!(refused.input(), &put("more"));
            self.refused.lock().unwrap().push(refused.kind());
        }
    }
}

#[test]
fn clean_publish_is_refused_when_it_would_wait_for_its_own_thread() {
    let builder = Builder::new().inline_dispatch(false).ingress_capacity(4);
    let (mut publisher, hub, dispatcher) = inline_engine(builder);
    let mut watcher = hub.watch(Selector::all()).unwrap();
    let filling = Arc::new(Filling {
        publisher: Mutex::default(),
        refused: Mutex::default(),
    });
    wait_with(&mut watcher, &Waker::from(Arc::clone(&filling)));
    publisher.publish(put("trigger")).unwrap();
    *filling.publisher.lock().unwrap() = Some(publisher);
    let running = thread::spawn(|| dispatcher.run());
    let items = in_time(move || {
        let items = watcher
            .iter()
            .map(|item| item.map(|event| event.revision()));
        items.collect::<Vec<_>>()
    });
    join_in_time(running);
    let refused = filling.refused.lock().unwrap();
    assert_eq!(*refused, [PublishErrorKind::OnDispatcher; 2]);
    // The trigger, four that found room, and the one that a lossy publish dropped.
    let lag = Err(RecvError::Lagged(dropped(6, 6)));
    assert_eq!(items, [Ok(1), Ok(2), Ok(3), Ok(4), Ok(5), lag]);
}
