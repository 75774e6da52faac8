//! The words of a window: rolling over, sealing, giving back.

use loom::sync::Arc;
use loom::thread;

use super::super::Window;
use super::super::mark::Mark;
use super::super::outcome::Taken;
use super::super::window::{RING, Windows};
use super::support::{MINUTE, explore};
use crate::sync::{AtomicU64, Ordering};

type Ring = [AtomicU64; RING];

fn ring() -> Arc<Ring> {
    Arc::new(std::array::from_fn(|_| AtomicU64::new(0)))
}

fn epoch_of(taken: &Taken) -> u64 {
    match taken.mark {
        Mark::Epoch { epoch, .. } => epoch,
        _ => u64::MAX,
    }
}

fn used(windows: Windows, ring: &Ring, epoch: u64) -> u64 {
    windows
        .look(0, u64::MAX, epoch, |place| {
            ring[place].load(Ordering::Relaxed)
        })
        .map_or(u64::MAX, |look| look.used)
}

#[test]
fn a_window_that_rolls_over_loses_no_count_and_admits_no_extra() {
    explore(3, || {
        let windows = Windows::fixed(Window::Span(MINUTE)).unwrap();
        let ring = ring();
        windows.take(&ring, 1, 2, 5).unwrap();
        let threads = [5, 6].map(|epoch| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || windows.take(&ring, 1, 2, epoch).unwrap())
        });
        let epochs = threads.map(|thread| epoch_of(&thread.join().unwrap()));
        let in_six = epochs.iter().filter(|&&epoch| epoch == 6).count() as u64;
        assert_eq!(used(windows, &ring, 6), in_six);
    });
}

#[test]
fn the_last_unit_of_a_window_is_taken_once() {
    explore(3, || {
        let windows = Windows::fixed(Window::Span(MINUTE)).unwrap();
        let ring = ring();
        let threads = [(); 2].map(|()| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || windows.take(&ring, 1, 1, 5).is_ok())
        });
        assert_eq!(
            threads
                .map(|thread| thread.join().unwrap())
                .iter()
                .filter(|&&taken| taken)
                .count(),
            1
        );
    });
}

#[test]
fn a_sealed_past_admits_nothing_behind_the_back_of_the_present() {
    explore(3, || {
        let windows = Windows::sliding(7 * MINUTE).unwrap();
        let ring = ring();
        // Seals what lies before sub-window 9, so that the model is about the last seal.
        let first = windows.take(&ring, 1, 1, 9).unwrap();
        assert!(windows.give_back(&ring, epoch_of(&first), 1));
        let threads = [9, 10].map(|epoch| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || windows.take(&ring, 1, 1, epoch).is_ok())
        });
        let admitted = threads
            .map(|thread| thread.join().unwrap())
            .iter()
            .filter(|&&taken| taken)
            .count();
        assert_eq!(admitted, 1);
        assert_eq!(used(windows, &ring, 10), 1);
    });
}

#[test]
fn a_give_back_makes_room_for_one_and_touches_no_other_window() {
    explore(3, || {
        let windows = Windows::fixed(Window::Span(MINUTE)).unwrap();
        let ring = ring();
        windows.take(&ring, 1, 1, 5).unwrap();
        let giver = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || windows.give_back(&ring, 5, 1))
        };
        let taker = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || windows.take(&ring, 1, 1, 6).is_ok())
        };
        giver.join().unwrap();
        assert!(taker.join().unwrap(), "window 6 was empty");
        assert_eq!(used(windows, &ring, 6), 1);
    });
}
