//! What did the kernel do while a case took one step?

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Cx;
use crate::case::Trouble;
use crate::compare::{counted, grouped};
use crate::dmabuf::{Identity, SharedFrame};
use crate::ledger;
use crate::observed::{NotObservable, Observed};
use crate::placement::bufinfo::{self, Entry};
use crate::placement::parse::{Event, What};
use crate::placement::probe::{Importer, Way};
use crate::placement::{Device, Observer, Segment, Segments};

/// What the kernel did during one step, and its evidence.
#[derive(Clone, Debug)]
pub struct Deed {
    /// The events, in their order.
    pub events: Vec<Event>,
}

impl Cx {
    /// Who looks at the kernel; opened by the first case.
    pub fn observer(&mut self) -> &mut Observer {
        self.observer.get_or_insert_with(|| ledger::keeping(|| "the observer".to_owned(), Observer::open))
    }

    /// Takes `step`, and sees what the kernel does meanwhile, down to the pages that it allocates.
    ///
    /// # Errors
    /// A skip if that can't be seen here.
    pub fn watch<T>(&mut self, step: impl FnOnce(&mut Self) -> T) -> Result<(T, Deed), Trouble> {
        let mark = self.observer().mark();
        self.observer().watch_pages(true).map_err(unseen)?;
        let result = step(self);
        let events = self.observer().since(mark);
        self.observer().watch_pages(false).map_err(unseen)?;
        Ok((result, Deed { events: events.map_err(unseen)? }))
    }

    /// Every importer that reaches storage by `way`.
    ///
    /// # Errors
    /// A skip that says why there is none.
    pub fn importers(&mut self, way: Way) -> Result<Vec<Arc<Importer>>, Trouble> {
        self.observer();
        let observer = self.observer.get_or_insert_with(Observer::open);
        let find = || Importer::find(observer).map(|found| found.into_iter().map(Arc::new).collect::<Vec<_>>());
        let importers = match self.importers.take() {
            Some(found) => found,
            None => ledger::keeping(|| "importers".to_owned(), find).map_err(unseen)?,
        };
        let importers = self.importers.insert(importers);
        let found: Vec<_> = importers.iter().filter(|importer| importer.way == way).cloned().collect();
        match found.is_empty() {
            false => Ok(found),
            true => Err(Trouble::Skip(format!("no importer of this machine {way}"))),
        }
    }

    /// Where `shared` lies for `device`.
    ///
    /// # Errors
    /// A skip if that can't be seen here.
    pub fn segments(&mut self, device: &Device, shared: &SharedFrame) -> Result<Segments, Trouble> {
        let placement = self.observer().placement_of(device, shared, None)?;
        placement.segments.map_err(unseen)
    }

    /// The kernel's entry for `buffer` in its list of dma-bufs.
    ///
    /// # Errors
    /// A skip if it shows no list.
    pub fn listed(&self, buffer: &Identity) -> Result<Option<Entry>, Trouble> {
        let list = bufinfo::list().map_err(unseen)?;
        Ok(list.into_iter().find(|entry| entry.buffer.inode == buffer.inode))
    }

    /// Whether the kernel lists the dma-buf, of whatever process.
    ///
    /// # Errors
    /// As [`Self::listed`].
    pub fn is_listed(&self, buffer: &Identity) -> Result<bool, Trouble> {
        Ok(self.listed(buffer)?.is_some())
    }

    /// Whether the kernel has done away with the dma-buf, which it may do some time after the last who had it let go.
    ///
    /// # Errors
    /// As [`Self::listed`].
    pub fn is_gone(&self, buffer: &Identity) -> Result<bool, Trouble> {
        settled(|| Ok(!self.is_listed(buffer)?), |gone| *gone)
    }

    /// How many dma-bufs there are, of whatever process, if the kernel shows its list.
    ///
    /// # Errors
    /// It shows none, or somebody else may make some meanwhile.
    pub fn dmabufs(&self) -> Observed<usize> {
        match self.case.who_else_shares.get_or_init(ledger::who_else_shares) {
            Some(who) => Err(NotObservable(format!("dma-bufs can't be counted beside others: {who}"))),
            None => Ok(bufinfo::list()?.len()),
        }
    }
}

/// What goes by itself has gone when so much time is over.
const SETTLED: Duration = Duration::from_millis(300);

/// What `look` sees when that `is` as it should be, or when there was time enough for it.
///
/// # Errors
/// Those of `look`.
pub fn settled<T, E>(mut look: impl FnMut() -> Result<T, E>, is: impl Fn(&T) -> bool) -> Result<T, E> {
    let began = Instant::now();
    loop {
        let seen = look()?;
        if is(&seen) || began.elapsed() >= SETTLED {
            return Ok(seen);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn unseen(why: NotObservable) -> Trouble {
    Trouble::Skip(why.to_string())
}

impl Deed {
    /// How many bytes of `storage` the kernel took from its page allocator in each of some steps, in bytes; the steps in their
    /// order, the last of them the one that found the storage. A page that left the allocator more than once (it may have been
    /// other memory in between) was provided by the last of them.
    pub fn provided<const STEPS: usize>(deeds: [&Self; STEPS], storage: &Segments) -> [u64; STEPS] {
        let page = rustix::param::page_size() as u64;
        let of = |segment: &Segment| (segment.address / page)..segment.end().div_ceil(page);
        let mut providers = HashMap::new();
        for (step, deed) in deeds.iter().enumerate() {
            providers.extend(deed.pages().iter().flat_map(of).map(|page| (page, step)));
        }
        let mut provided = [0; STEPS];
        for step in storage.list.iter().flat_map(of).filter_map(|page| providers.get(&page)) {
            provided[*step] += page;
        }
        provided
    }

    /// The pages that left the page allocator.
    fn pages(&self) -> Vec<Segment> {
        let pages = self.events.iter().filter_map(|event| match event.what {
            What::Pages(pages) => Some(pages),
            _ => None,
        });
        pages.collect()
    }
}

/// `exported, fd handed out, 302 allocations of 1,236,992 B`: the kernel's own evidence, in its order.
impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deeds = self.events.iter().filter(|event| !matches!(event.what, What::Pages(_)));
        let mut texts: Vec<String> = deeds.map(|event| event.what.to_string()).collect();
        texts.dedup();
        let pages = self.pages();
        let bytes: u64 = pages.iter().map(|page| page.length).sum();
        texts.push(format!("{} of {} B in all", counted(pages.len() as u64, "page allocation"), grouped(bytes)));
        f.write_str(&texts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Source;

    #[test]
    fn what_goes_a_little_later_has_settled() {
        let mut left = 3;
        let mut look = || {
            left -= 1;
            Ok::<_, ()>(left)
        };
        assert_eq!(settled(&mut look, |left| *left == 0), Ok(0));
        let began = Instant::now();
        assert_eq!(settled(|| Ok::<_, ()>(1), |left| *left == 0), Ok(1));
        assert!(began.elapsed() >= SETTLED);
    }

    #[test]
    fn what_a_step_provided_is_what_it_allocated_of_the_storage() {
        let segment = |address, length| Segment { address, length };
        let event = |what| Event { thread: 1, at: Duration::ZERO, what };
        let identity = Identity { inode: 1, exporter: None, size: 0x3000 };
        let pages = [segment(0x1000, 0x1000), segment(0x8000, 0x4000), segment(0xf000, 0x1000)];
        let events = pages.into_iter().map(What::Pages).chain([What::Export(identity)]).map(event).collect();
        let deed = Deed { events };
        let list = vec![segment(0x1000, 0x2000), segment(0x9000, 0x1000)];
        let storage = Segments { source: Source::Pagemap, count: 2, list };
        assert_eq!(Deed::provided([&deed], &storage), [0x2000], "a page of the first, and one of a larger allocation");
        let again = Deed { events: vec![event(What::Pages(segment(0x8000, 0x2000)))] };
        assert_eq!(Deed::provided([&deed, &again], &storage), [0x1000, 0x1000], "who takes a page last provides it");
        assert_eq!(deed.to_string(), "export, 3 page allocations of 24,576 B in all");
    }
}
