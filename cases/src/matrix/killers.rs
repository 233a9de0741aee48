//! Which faults a frame that crosses must bring to light: some are seen by each frame of a kind, and some are to be seen by one
//! frame of each value of what is varied, of each exporter and of each importer, so that none of these is tried by frames alone that
//! nothing has ever failed.

use std::collections::BTreeSet;

use handover::ends::{Order, Parcel, Planes, Rows, Start};
use handover::prelude::*;

use super::{LARGE, SIZES, WIDE};

/// Faults of the exporter that a frame must bring to light, whose importer is the CPU.
fn faults_of_exporter(claim: &str, from: Role, to: Role, parcel: &Parcel) -> Vec<&'static str> {
    if to != Cpu || is_laid_out(parcel) {
        return vec![];
    }
    let is_beyond_a_page = parcel.size.height > 64;
    match (claim, from) {
        ("arrives", Gles) => vec!["egl-pitch-too-large"],
        ("arrives", GlesGbm) if parcel.fourcc != Fourcc::RG16 => vec!["egl-red-blue"],
        ("arrives", Gbm) => vec!["gbm-pitch-too-large"],
        ("arrives", Vgem | Screen) if is_beyond_a_page => vec!["dumb-rows-missing"],
        ("arrives", DmaHeap) if is_beyond_a_page => vec!["heap-short"],
        _ => vec![],
    }
}

/// Faults that each frame like that must bring to light. One pair is enough for each.
fn faults(claim: &str, from: Role, to: Role, parcel: &Parcel) -> Vec<&'static str> {
    let plain = parcel.fourcc == Fourcc::XR24 || parcel.fourcc == Fourcc::AR24;
    let is_as_it_comes = *parcel == Parcel::of(Fourcc::XR24, SIZES[0]);
    let is_large = LARGE.contains(&parcel.size);
    match (from, to) {
        // Neither exporter nor importer is a screen, which is but one more reader.
        (Udmabuf, Cpu) if claim == "arrives" && is_as_it_comes => vec!["addfb2-red-blue"],
        (Udmabuf, GpuB) if is_large => vec!["rows-behind-1024-lost"],
        // Those in YUV would say the same again, where they are taken in at all.
        (Udmabuf, GpuA | Cpu | Gles | Vgem) if parcel.way.elsewhere && parcel.fourcc.yuv().is_none() => {
            vec!["sent-fds-lost"]
        }
        (GpuB, Gles) if parcel.size == WIDE.1 => vec!["egl-pitch-of-16-bits"],
        (Udmabuf, Gles) if parcel.way.fd_per_plane && !parcel.way.elsewhere => vec!["egl-one-fd-only"],
        (GpuA, Cpu) if claim == "comes_back" => vec!["export-reallocates"],
        (Udmabuf, _) if !plain => vec![],
        (Udmabuf, GlesGbm) if parcel.fourcc == Fourcc::XR24 => vec!["egl-red-blue"],
        (Udmabuf, Gles) if parcel.start == Start::Behind => vec!["egl-offset-ignored"],
        (Udmabuf, Gbm) if parcel.start == Start::Behind => vec!["gbm-offset-ignored"],
        (Udmabuf, Video) if parcel.rows == Rows::Pages => vec!["video-pitch-ignored", "dqbuf-wrong-index"],
        (Udmabuf, Video) => vec!["dqbuf-wrong-index"],
        (Udmabuf, GpuA) if claim == "arrives" && parcel.way.order == Order::ImportFirst => vec!["import-copies"],
        _ => vec![],
    }
}

/// A frame of what is varied.
type Like = fn(&Parcel) -> bool;

/// Exporter and importer, and the fault that the first frame between them that is like that must bring to light.
const FIRSTS: &[(Role, Role, Like, &str)] = &[
    // What is taken in is lost.
    (Udmabuf, GpuA, |parcel| parcel.fourcc == Fourcc::YUYV, ZEROS),
    (ScreenB, GpuA, is_drawn_first, ZEROS),
    (Video, GpuA, is_drawn_first, ZEROS),
    (DmaVideo, GpuA, is_drawn_first, ZEROS),
    (PlanarVideo, GpuB, |parcel| parcel.size == LARGE[1], "acquire-discards"),
    (Udmabuf, Vgem, |parcel| parcel.way.order == Order::ImportFirst, "prime-import-copies"),
    // What is handed out has its channels in another order.
    (GpuA, Cpu, |parcel| !is_laid_out(parcel) && parcel.size.height > 64, "pitch-and-size-too-large"),
    (GpuA, Cpu, |parcel| is_of_bytes(parcel) && parcel.way.order == Order::ExportFirst, "red-blue-swapped"),
    // What is shown is another picture.
    (Udmabuf, Screen, |parcel| is_of_bytes(parcel) && !parcel.begins_behind(), "addfb2-red-blue"),
    (Udmabuf, ScreenB, is_padded, "addfb2-pitch"),
    (Udmabuf, Overlay, |parcel| parcel.fourcc == Fourcc::AR24, "overlay-alpha-ignored"),
    (Udmabuf, Cursor, |parcel| parcel.fourcc == Fourcc::AR24, "cursor-red-blue"),
    (Udmabuf, Screen, |parcel| parcel.fourcc == Fourcc::NV12, "addfb2-chroma-swapped"),
    (Udmabuf, Screen, |parcel| parcel.fourcc == Fourcc::NV24, "addfb2-chroma-swapped"),
    (Udmabuf, Gles, |parcel| parcel.fourcc == Fourcc::YU12, "egl-chroma-swapped"),
    (Udmabuf, Gles, |parcel| parcel.fourcc == Fourcc::YV12, "egl-chroma-swapped"),
    (Udmabuf, Gles, |parcel| parcel.planes == Planes::Backwards, "egl-offset-ignored"),
    (Udmabuf, Gles, |parcel| parcel.fourcc == Fourcc::S010, "egl-chroma-offset-ignored"),
    // What is streamed is nothing, comes from somewhere else, or is said to be another buffer.
    (Udmabuf, Video, |parcel| parcel.fourcc == Fourcc::AYUV, "qbuf-sends-nothing"),
    (Udmabuf, Video, |parcel| parcel.fourcc == Fourcc::NV16, "qbuf-sends-nothing"),
    (Udmabuf, Converter, |_| true, "qbuf-sends-nothing"),
    (Udmabuf, PlanarVideo, |parcel| parcel.start == Start::Behind, "video-data-offset-dropped"),
    (DmaVideo, DmaVideo, |parcel| *parcel == Parcel::of(Fourcc::XR24, SIZES[0]), "dqbuf-wrong-index"),
];

/// The fault by which all that is taken in is lost.
const ZEROS: &str = "import-zero-fills";

/// Drawn before it is taken in, in this process.
fn is_drawn_first(parcel: &Parcel) -> bool {
    parcel.way.order == Order::BindFirst && !parcel.way.elsewhere
}

/// Whether red and blue are bytes that could change places.
fn is_of_bytes(parcel: &Parcel) -> bool {
    [Fourcc::XR24, Fourcc::AR24, Fourcc::AB24].contains(&parcel.fourcc)
}

/// Whether it is told how its rows lie.
fn is_laid_out(parcel: &Parcel) -> bool {
    parcel.start == Start::Behind || parcel.rows != Rows::Agreed
}

/// Whether rows are longer than their pixels, in a frame that begins with its buffer.
fn is_padded(parcel: &Parcel) -> bool {
    parcel.rows == Rows::Padded && parcel.start == Start::First
}

/// Which of [`FIRSTS`] have had their frame, by their places.
#[derive(Default)]
pub(super) struct Killers(BTreeSet<usize>);

impl Killers {
    /// The faults that a frame must bring to light which crosses from `from` to `to`.
    pub(super) fn of(&mut self, claim: &str, from: Role, to: Role, parcel: &Parcel) -> Vec<&'static str> {
        let mut all = faults(claim, from, to, parcel);
        all.extend(faults_of_exporter(claim, from, to, parcel));
        for (place, (exporter, importer, like, fault)) in FIRSTS.iter().enumerate() {
            let is_it = claim == "arrives" && (*exporter, *importer) == (from, to) && like(parcel);
            if is_it && self.0.insert(place) && !all.contains(fault) {
                all.push(fault);
            }
        }
        all
    }

    /// The first of [`FIRSTS`] that no frame was like, in words.
    pub(super) fn unmet(&self) -> Option<String> {
        let place = (0..FIRSTS.len()).find(|place| !self.0.contains(place))?;
        let (from, to, _, fault) = FIRSTS[place];
        Some(format!("matrix: no frame from {from} to {to} is what {fault} (number {place}) is to be seen by"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exporter, importer and each word of a frame's name.
    fn words(name: &str) -> impl Iterator<Item = String> {
        let (pair, parcel) = name.split_once("::").unwrap_or_default();
        let (from, to) = pair.split_once("_to_").unwrap_or_default();
        let ends = [format!("from {from}"), format!("to {to}")];
        ends.into_iter().chain(parcel.split('_').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_value_every_exporter_and_every_importer_has_a_frame_that_a_fault_or_a_defect_fails() {
        let cases = Cases::collect(crate::register).expect("a list");
        let (mut tried, mut failed) = (BTreeSet::new(), BTreeSet::new());
        for case in cases.iter().map(|case| &case.info) {
            let Some(name) = case.name.strip_prefix("matrix::arrives::") else { continue };
            tried.extend(words(name));
            if !case.must_fail_under.is_empty() || !case.known.is_empty() {
                failed.extend(words(name));
            }
        }
        let never: Vec<_> = tried.difference(&failed).collect();
        assert!(tried.len() > 30 && never.is_empty(), "of {} no frame ever fails that has {never:?}", tried.len());
    }
}
