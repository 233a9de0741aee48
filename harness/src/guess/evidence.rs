//! Which pixels speak for a prediction of the actual picture, and which against it?

use std::cell::Cell;

use super::{Guess, Shape};
use crate::compare::{Area, comparable};
use crate::format::PixelLayout;
use crate::picture::Picture;

/// A guess needs so many differing pixels as predicted: fewer would fit by chance.
const FEWEST: u64 = 16;

/// A guess predicts at least one in so many pixels: padding and what lies around the picture may hide the rest.
const PART_PREDICTED: u64 = 3;

/// At most so many differing pixels are looked at before all are.
const SAMPLES: usize = 48;

/// So many of them may be otherwise than predicted.
const SAMPLES_WRONG: usize = 4;

/// With so many of them wrong a shape does not explain the difference, whatever the rest is.
const SAMPLES_HOPELESS: usize = 12;

/// A predicted pixel: its bits, and which of them the prediction knows.
pub(super) type Bits = (u64, u64);

/// Target and actual, pixel by pixel, without padding bits.
pub(super) struct Evidence<'a> {
    pub(super) layout: &'static PixelLayout,
    /// Bits of a pixel that mean something.
    pub(super) visible: u64,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) target: Vec<u64>,
    pub(super) actual: Vec<u64>,
    /// The target with everything, for predictions that take pixels apart.
    pub(super) picture: &'a Picture,
    /// Number of pixels that differ.
    pub(super) differing: u64,
    /// The smallest area that holds them.
    pub(super) area: Area,
    /// Some of them, spread evenly, as column and row.
    samples: Vec<(usize, usize)>,
    /// How many pixels were looked at so far: what the search costs, whatever machine it runs on.
    pub(super) looks: Cell<u64>,
}

impl<'a> Evidence<'a> {
    /// `None` if the pictures can't be compared, or if too few pixels differ for any guess.
    pub(super) fn new(target: &'a Picture, actual: &Picture) -> Option<Self> {
        let layout = comparable(target, actual).ok()?;
        let visible = layout.visible();
        let words = |picture: &Picture| -> Vec<u64> {
            picture.bytes.chunks_exact(layout.bytes as usize).map(|pixel| layout.word(pixel) & visible).collect()
        };
        let (width, height) = (target.size.width as usize, target.size.height as usize);
        let (target_words, actual_words) = (words(target), words(actual));

        let differing: Vec<usize> = (0..target_words.len()).filter(|&i| target_words[i] != actual_words[i]).collect();
        if (differing.len() as u64) < FEWEST {
            return None;
        }
        let (top, bottom) = (differing[0] / width, differing[differing.len() - 1] / width);
        let (left, right) = differing.iter().fold((width, 0), |(left, right), i| {
            let x = i % width;
            (left.min(x), right.max(x))
        });
        let area =
            Area { x: left as u32, y: top as u32, width: (right - left + 1) as u32, height: (bottom - top + 1) as u32 };
        let wanted = SAMPLES.min(differing.len());
        // Steps of the golden ratio are even and in step with no row length.
        let samples = (0..wanted)
            .map(|n| (u64::from((n as u32).wrapping_mul(0x9E37_79B1)) * differing.len() as u64) >> 32)
            .map(|n| differing[n as usize])
            .map(|i| (i % width, i / width))
            .collect();
        Some(Self {
            layout,
            visible,
            width,
            height,
            target: target_words,
            actual: actual_words,
            picture: target,
            differing: differing.len() as u64,
            area,
            samples,
            looks: Cell::new(0),
        })
    }

    fn looked_at(&self, pixels: usize) {
        self.looks.set(self.looks.get() + pixels as u64);
    }

    /// Position of a pixel in [`Self::target`] and [`Self::actual`].
    pub(super) fn at(&self, x: usize, y: usize) -> usize {
        y * self.width + x
    }

    /// Whether the pixels differ in so many places that nothing of the target is left.
    pub(super) fn all_differ(&self) -> bool {
        self.differing * 100 > self.actual.len() as u64 * 95
    }

    /// Whether a look at a few pixels leaves the prediction possible.
    ///
    /// Also says how many pixels were looked at.
    pub(super) fn plausible(&self, predict: impl Fn(usize, usize) -> Option<Bits>) -> (bool, usize) {
        let (mut right, mut wrong) = (0, 0);
        for (looked, &(x, y)) in self.samples.iter().enumerate() {
            let Some((bits, known)) = predict(x, y) else { continue };
            if (bits ^ self.actual[self.at(x, y)]) & known & self.visible == 0 {
                right += 1;
            } else {
                wrong += 1;
            }
            if wrong > SAMPLES_WRONG {
                self.looked_at(looked + 1);
                return (false, looked + 1);
            }
        }
        self.looked_at(self.samples.len());
        (right > wrong, self.samples.len())
    }

    /// Whether what is predicted of the pixels that differ has more than one colour: one colour is the same wherever it comes from.
    pub(super) fn is_varied(&self, predict: impl Fn(usize, usize) -> Option<Bits>) -> bool {
        self.looked_at(self.actual.len());
        let differs = |at: &usize| self.target[*at] != self.actual[*at];
        let differing = (0..self.actual.len()).filter(differs);
        let mut predicted = differing.filter_map(|at| predict(at % self.width, at / self.width));
        let Some((first, known_of_first)) = predicted.next() else { return false };
        let others = predicted.filter(|(bits, known)| (bits ^ first) & known & known_of_first & self.visible != 0);
        others.take(FEWEST as usize).count() as u64 == FEWEST
    }

    /// The guess that `shape` is what happened, if the pixels are as `predict` says for column and row.
    pub(super) fn verify(&self, shape: Shape, predict: impl Fn(usize, usize) -> Option<Bits>) -> Option<Guess> {
        self.judge(shape, |x, y| {
            let (bits, known) = predict(x, y)?;
            let known = known & self.visible;
            (known != 0).then(|| (bits ^ self.actual[self.at(x, y)]) & known == 0)
        })
    }

    /// As [`Self::verify`], where `holds` itself says whether a pixel is as predicted, `None` where nothing is.
    pub(super) fn judge(&self, shape: Shape, holds: impl Fn(usize, usize) -> Option<bool>) -> Option<Guess> {
        // Most shapes are not what happened, and that shows at once.
        let wrong = self.samples.iter().filter(|(x, y)| holds(*x, *y) == Some(false));
        if wrong.take(SAMPLES_HOPELESS).count() == SAMPLES_HOPELESS {
            return None;
        }
        self.looked_at(self.actual.len());
        let (mut predicted, mut explained) = (0u64, 0u64);
        let (mut differing_predicted, mut differing_explained) = (0u64, 0u64);
        for y in 0..self.height {
            for x in 0..self.width {
                let Some(holds) = holds(x, y) else { continue };
                let i = self.at(x, y);
                let differs = self.target[i] != self.actual[i];
                predicted += 1;
                explained += u64::from(holds);
                differing_predicted += u64::from(differs);
                differing_explained += u64::from(differs && holds);
            }
        }
        let total = self.actual.len() as u64;
        let enough = differing_explained >= FEWEST
            && PART_PREDICTED * differing_predicted >= self.differing
            && PART_PREDICTED * predicted >= total;
        let right = explained * 100 > predicted * 95 && differing_explained * 100 > differing_predicted * 95;
        (enough && right).then_some(Guess { shape, explained, predicted, total })
    }
}
