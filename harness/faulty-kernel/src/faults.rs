//! The faults and controls that this crate can make, by the names that `handover-faults` describes them with.
//!
//! Each is a [`Made`]: the calls to stop, and what to answer. What each does and when is said there; here is how.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::call::{Answer, Call};
use crate::fields::Fields;
use crate::filter::Filter;

mod atomic;
mod displays;
mod dmabuf;
mod fences;
mod kms;
mod lists;
mod mappings;
mod memory;
mod odd;
mod placement;
mod prime;
mod refused;
mod storage;
mod syncobjs;
mod unchecked;
mod video;
mod waits;
mod writeback;

/// What is done about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The answer.
    pub answer: Answer,
    /// Whether the fault was made.
    pub fired: bool,
}

impl Done {
    /// The call is not one that the fault is about.
    const UNTOUCHED: Self = Self { answer: Answer::Continue, fired: false };

    fn fired(answer: Answer) -> Self {
        Self { answer, fired: true }
    }

    /// The fault was not made, but the call was.
    fn as_it_was(done: Result<i64, Errno>) -> Self {
        Self { answer: answer_of(done), fired: false }
    }
}

type Answerer = dyn Fn(&Call<'_>) -> io::Result<Done> + Send + Sync;

/// A fault, ready to be made.
pub struct Made {
    /// The calls that it looks at.
    pub filter: Filter,
    /// What it does about one.
    pub answer: Box<Answerer>,
}

impl Made {
    fn on(filter: Filter, answer: impl Fn(&Call<'_>) -> io::Result<Done> + Send + Sync + 'static) -> Self {
        Self { filter, answer: Box::new(answer) }
    }

    fn on_ioctls(numbers: &[u32], answer: impl Fn(&Call<'_>) -> io::Result<Done> + Send + Sync + 'static) -> Self {
        Self::on(Filter::ioctls(numbers), answer)
    }
}

/// What is done about a call by those of `all` that look at it, one after the other until one does not let it go on; and which
/// of them were made, by their places.
///
/// # Errors
/// The first that fails.
pub fn in_turn(all: &[Made], call: &Call<'_>) -> io::Result<(Answer, Vec<usize>)> {
    let mut fired = Vec::new();
    for (n, made) in all.iter().enumerate() {
        if !made.filter.stops(call.number, call.ioctl()) {
            continue;
        }
        let done = (made.answer)(call)?;
        if done.fired {
            fired.push(n);
        }
        if done.answer != Answer::Continue {
            return Ok((done.answer, fired));
        }
    }
    Ok((Answer::Continue, fired))
}

type Named = (&'static str, fn() -> Made);

const ALL: &[&[Named]] = &[
    kms::ALL,
    prime::ALL,
    dmabuf::ALL,
    fences::ALL,
    syncobjs::ALL,
    memory::ALL,
    video::ALL,
    unchecked::ALL,
    refused::ALL,
    lists::ALL,
    mappings::ALL,
    storage::ALL,
    waits::ALL,
    odd::ALL,
    displays::ALL,
    placement::ALL,
    writeback::ALL,
];

/// The names of all of them.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().copied().flatten().map(|(name, _)| *name)
}

/// The fault or control of this name, ready to be made.
pub fn make(name: &str) -> Option<Made> {
    ALL.iter().copied().flatten().find(|(known, _)| *known == name).map(|(_, make)| make())
}

/// Makes an ioctl in the caller's place with what `change` makes of its structure; it fires if `change` says so. What the
/// caller asked for is as it was when the call returns. There must be no address in the structure: it would be one of this
/// process.
fn changing(number: u32, change: impl Fn(&mut Fields) -> bool + Send + Sync + 'static) -> Made {
    Made::on_ioctls(&[number], move |call| {
        let asked = call.structure()?;
        let mut changed = asked.clone();
        if !change(&mut changed) {
            return Ok(Done::UNTOUCHED);
        }
        let mut told = changed.clone();
        let done = call.perform(&mut told)?;
        if let (Some(fd), Ok(_)) = (fd_made_by(number), done) {
            hand_out(call, &mut told, fd)?;
        }
        call.set_structure(&told.unchanged_as(&changed, &asked))?;
        Ok(Done { answer: answer_of(done), fired: true })
    })
}

/// Where an ioctl says which fd it made; `None` if it makes none.
fn fd_made_by(number: u32) -> Option<usize> {
    match number {
        prime::HANDLE_TO_FD | memory::ALLOC => Some(8),
        video::EXPBUF => Some(16),
        _ => None,
    }
}

/// Says that a call was carried out, and does not do it.
fn ignoring(numbers: &[u32]) -> Made {
    Made::on_ioctls(numbers, |_| Ok(Done::fired(Answer::Return(0))))
}

/// Makes the calls that `about` is true of in the caller's place, and changes what they brought back; it fires if
/// `change` says so. There must be no address in their structure: it would be one of this process.
fn reporting(
    number: u32,
    about: impl Fn(&Fields) -> bool + Send + Sync + 'static,
    change: impl Fn(&mut Fields) -> bool + Send + Sync + 'static,
) -> Made {
    Made::on_ioctls(&[number], move |call| {
        let mut structure = call.structure()?;
        if !about(&structure) {
            return Ok(Done::UNTOUCHED);
        }
        let done = call.perform(&mut structure)?;
        let fired = done.is_ok() && change(&mut structure);
        call.set_structure(&structure)?;
        Ok(Done { answer: answer_of(done), fired })
    })
}

/// What the caller is told of a call that was made in its place.
fn answer_of(done: Result<i64, Errno>) -> Answer {
    match done {
        Ok(value) => Answer::Return(value),
        Err(errno) => Answer::Fail(errno),
    }
}

/// Of a count that begins with 1: whether the fault should be made this time, every other time.
fn every_other(count: &std::sync::atomic::AtomicU64) -> bool {
    count.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of(2)
}

/// Gives the caller `file`, closed on exec as it is here, and puts its number there into field `at` of `told`.
fn give_in(call: &Call<'_>, told: &mut Fields, at: usize, file: &OwnedFd) -> io::Result<()> {
    let close_on_exec = rustix::io::fcntl_getfd(file)?.contains(rustix::io::FdFlags::CLOEXEC);
    told.set_u32(at, call.give(file, close_on_exec)?.cast_unsigned());
    Ok(())
}

/// Gives the caller the fd that a call has just made in this process, and that field `at` of `told` names.
fn hand_out(call: &Call<'_>, told: &mut Fields, at: usize) -> io::Result<OwnedFd> {
    let made = owned(told.u32(at).into())?;
    give_in(call, told, at, &made)?;
    Ok(made)
}

/// Owns an fd that a call has just made in this process.
fn owned(number: i64) -> io::Result<OwnedFd> {
    crate::perform::own(number).ok_or_else(|| io::Error::other(format!("{number} is no fd")))
}
