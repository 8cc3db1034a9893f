//! Bounds, alignment and generations of edges, and what pulses say of them.

use proptest::prelude::*;

use super::*;
use crate::clock::SystemClock;
use crate::metrics::Meter;
use crate::progress::Role;

impl Load for u64 {
    fn rows(&self) -> usize {
        1
    }
    fn bytes(&self) -> usize {
        CHANNEL_BYTES_MAX / 2 + 1
    }
}

fn pair(current: &Arc<CurrentGeneration>) -> (Sender<u64>, Receiver<u64>, Arc<metrics::Edge>) {
    let stats = Meter::new("p").edge("e");
    let (sender, receiver) = edge(Arc::clone(&stats), Arc::new(SystemClock::default()), Arc::clone(current));
    (sender, receiver, stats)
}

const G: Generation = Generation(0);
const SHORT: Duration = Duration::from_millis(5);

#[test]
fn a_full_edge_blocks_by_bytes_until_the_receiver_takes() {
    let current = Arc::new(CurrentGeneration::default());
    let (sender, receiver, stats) = pair(&current);
    sender.send(G, Message::Data(1)).unwrap();
    let blocked = std::thread::spawn(move || sender.send(G, Message::Data(2)));
    std::thread::sleep(Duration::from_millis(30));
    assert!(!blocked.is_finished(), "two do not fit");
    let mut inputs = Inputs::new(vec![receiver], current);
    assert!(matches!(inputs.next(SHORT), Ok(Event::Data(0, 1))));
    blocked.join().unwrap().unwrap();
    assert!(matches!(inputs.next(SHORT), Ok(Event::Data(0, 2))));
    assert!(stats.blocked_ns.get() > 0);
    assert_eq!((stats.sent.get(), stats.received.get()), (2, 2));
    assert_eq!((stats.queued_batches.get(), stats.queued_bytes.get(), stats.batch_rows.count()), (0, 0, 2));
}

#[test]
fn a_pulse_says_who_waits_and_who_is_blocked() {
    let current = Arc::new(CurrentGeneration::default());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let (sender, receiver, stats) = pair(&current);
    let [from, to] = [Role::Source, Role::Sink].map(|r| Arc::new(Pulse::new(r, &"n".into(), None, &clock)));
    let sender = sender.watched(&from);
    from.now(Doing::Working);
    sender.send(G, Message::Data(1)).unwrap();
    assert_eq!(from.get().0, Doing::Working);
    let blocked = std::thread::spawn(move || sender.send(G, Message::Data(2)).map(|()| sender));
    while from.get().0 != Doing::Blocked || stats.blocked_ns.get() == 0 {
        std::thread::sleep(SHORT);
    }
    assert_eq!((stats.queued_batches.get(), stats.sent.get()), (2, 2), "the one that is blocked counts");
    let mut inputs = Inputs::new(vec![receiver], current).watched(&to);
    assert!(matches!(inputs.next(SHORT), Ok(Event::Data(0, 1))));
    assert_eq!(to.get().0, Doing::Working);
    let sender = blocked.join().unwrap().unwrap();
    assert_eq!(from.get().0, Doing::Working);
    assert!(matches!(inputs.next(SHORT), Ok(Event::Data(0, 2))));
    let waits = std::thread::spawn(move || inputs.next(Duration::from_secs(60)).is_err());
    while to.get().0 != Doing::Waiting {
        std::thread::sleep(SHORT);
    }
    drop(sender);
    assert!(waits.join().unwrap(), "nobody is left to wait for");
}

#[test]
fn a_receiver_that_goes_away_frees_the_sender() {
    let current = Arc::new(CurrentGeneration::default());
    let (sender, receiver, _) = pair(&current);
    sender.send(G, Message::Data(1)).unwrap();
    let blocked = std::thread::spawn(move || sender.send(G, Message::Data(2)));
    std::thread::sleep(Duration::from_millis(10));
    drop(receiver);
    assert_eq!(blocked.join().unwrap(), Err(Disconnected));
}

#[test]
fn an_input_whose_barrier_has_come_waits_for_the_others() {
    let current = Arc::new(CurrentGeneration::default());
    let (a, ra, _) = pair(&current);
    let (b, rb, _) = pair(&current);
    let mut inputs = Inputs::new(vec![ra, rb], Arc::clone(&current));
    a.send(G, Message::Barrier(Epoch(1))).unwrap();
    a.send(G, Message::Data(10)).unwrap();
    b.send(G, Message::Data(1)).unwrap();
    assert!(matches!(inputs.next(SHORT), Ok(Event::Data(1, 1))));
    assert!(matches!(inputs.next(SHORT), Ok(Event::Idle)), "10 belongs to epoch 2");
    b.send(G, Message::Barrier(Epoch(1))).unwrap();
    assert!(matches!(inputs.next(SHORT), Ok(Event::Barrier(Epoch(1)))));
    assert!(matches!(inputs.next(SHORT), Ok(Event::Data(0, 10))));
    a.send(G, Message::End).unwrap();
    b.send(G, Message::Watermark(5)).unwrap();
    b.send(G, Message::End).unwrap();
    assert!(matches!(inputs.next(SHORT), Ok(Event::End)));
}

#[test]
fn older_generations_are_dropped_and_counted_and_the_rewind_comes_first() {
    let current = Arc::new(CurrentGeneration::default());
    let (a, ra, stats) = pair(&current);
    let mut inputs = Inputs::new(vec![ra], Arc::clone(&current));
    a.send(G, Message::Data(1)).unwrap();
    current.raise(Generation(1));
    assert!(matches!(inputs.next(SHORT), Ok(Event::Rewound(Generation(1)))));
    let newer = std::thread::spawn(move || a.send(Generation(1), Message::Data(2)));
    assert!(matches!(inputs.next(Duration::from_secs(5)), Ok(Event::Data(0, 2))));
    newer.join().unwrap().unwrap();
    assert_eq!((stats.sent.get(), stats.received.get(), stats.dropped.get()), (2, 1, 1));
}

proptest! {
    /// Whatever the interleaving, a node sees each epoch's rows before its barrier, in order per input.
    #[test]
    fn alignment_never_mixes_epochs(a in prop::collection::vec(0u8..4, 0..12), b in prop::collection::vec(0u8..4, 0..12)) {
        let current = Arc::new(CurrentGeneration::default());
        let mut receivers = Vec::new();
        let mut threads = Vec::new();
        for plan in [a.clone(), b.clone()] {
            let (sender, receiver, _) = pair(&current);
            receivers.push(receiver);
            threads.push(std::thread::spawn(move || {
                // 0 ends the epoch, anything else is a row that carries its epoch.
                let mut epoch = 1;
                for step in plan {
                    if step == 0 {
                        sender.send(G, Message::Barrier(Epoch(epoch))).unwrap();
                        epoch += 1;
                    } else {
                        sender.send(G, Message::Data(epoch)).unwrap();
                    }
                }
                for rest in epoch..=13 {
                    sender.send(G, Message::Barrier(Epoch(rest))).unwrap();
                }
                sender.send(G, Message::End).unwrap();
            }));
        }
        let mut inputs = Inputs::new(receivers, current);
        let (mut epoch, mut rows) = (1, 0);
        loop {
            match inputs.next(Duration::from_secs(5)).unwrap() {
                Event::Data(_, of) => { prop_assert_eq!(of, epoch); rows += 1; }
                Event::Barrier(at) => { prop_assert_eq!(at, Epoch(epoch)); epoch += 1; }
                Event::End => break,
                other => prop_assert!(false, "{other:?}"),
            }
        }
        threads.into_iter().for_each(|t| t.join().unwrap());
        prop_assert_eq!(epoch, 14);
        prop_assert_eq!(rows, a.iter().chain(&b).filter(|s| **s != 0).count());
    }
}
