//! Is the actual YUV picture the target one, plane by plane, and what is there to see of it?
//!
//! Each plane is looked at as a picture of a packed format with the same bytes, so that comparing and guessing is that of all
//! pictures; only words and images are its own. Every bit counts, padding too: it is written as zeros.

use super::layout;
use crate::compare::{Difference, Tolerance, compare, counted, grouped};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::format::{Fourcc, Part};
use crate::frame::{Plane, Size, px};
use crate::guess::{Guess, Known, Suspects, guess};
use crate::picture::Picture;

/// How one plane differs.
#[derive(Clone, Debug)]
pub struct PlaneDifference {
    /// Which plane.
    pub plane: usize,
    /// The names of its components: `U V`.
    pub names: String,
    /// How it differs; pixels are samples of the plane, channels components in their order.
    pub difference: Difference,
    /// Its first sample that differs, component by component, as it must be and as it is.
    pub first: (String, String),
    /// What the plane looks like.
    pub like: Option<Guess>,
}

/// The planes of `picture`, each in a packed format with the same bytes.
///
/// # Errors
/// It is not YUV of a format known here, or its bytes do not match its size.
pub fn split(picture: &Picture) -> Result<Vec<Picture>> {
    let (yuv, shapes) = layout(picture.fourcc, picture.size)?;
    let refuse = |why: String| Error::input("taking planes apart", format!("{picture:?}"), why);
    let mut rest = picture.bytes.as_slice();
    let mut planes = Vec::new();
    for (n, shape) in shapes.iter().enumerate() {
        let size = px(picture.size.width.div_ceil(shape.across), shape.rows(picture.size.height));
        let length = size.width as usize * size.height as usize * shape.bytes as usize;
        let (Some(fourcc), Some((bytes, behind))) = (yuv.stand_in(n), rest.split_at_checked(length)) else {
            return Err(refuse(format!("plane {n} of {size} needs {length} B, {} B are left", rest.len())));
        };
        rest = behind;
        planes.push(Picture { size, fourcc, bytes: bytes.to_vec() });
    }
    if rest.is_empty() { Ok(planes) } else { Err(refuse(format!("{} B are left over", rest.len()))) }
}

/// The planes of `actual` that are not those of `target`, to the bit; none is a match.
///
/// `before` is what may be there instead, if known; `placed` where the planes lie in a buffer that a reader took them from.
///
/// # Errors
/// Size or format differ, or the pictures are not YUV.
pub fn compare_planes(
    target: &Picture,
    actual: &Picture,
    before: Option<&Picture>,
    placed: &[Plane],
) -> Result<Vec<PlaneDifference>> {
    if (target.size, target.fourcc) != (actual.size, actual.fourcc) {
        let why = format!("the actual picture is {} {}", actual.fourcc, actual.size);
        return Err(Error::input("comparing planes", format!("target {} {}", target.fourcc, target.size), why));
    }
    let (yuv, _) = layout(target.fourcc, target.size)?;
    let before = before.filter(|before| (before.size, before.fourcc) == (target.size, target.fourcc));
    let before = before.map(split).transpose()?.unwrap_or_default();
    let targets = split(target)?;
    let mut differ = Vec::new();
    for (plane, actual) in split(actual)?.iter().enumerate() {
        let Some(difference) = compare(&targets[plane], actual, &Tolerance::Exact)? else { continue };
        let old = before.get(plane).map(|picture| Known { name: "the frame that was in the buffer before", picture });
        // Planes of one shape may stand in for each other.
        let others: Vec<(String, &Picture)> =
            targets.iter().enumerate().filter(|(n, _)| *n != plane).map(|(n, p)| (format!("plane {n}"), p)).collect();
        let others = others.iter().map(|(name, picture)| Known { name, picture });
        let known: Vec<Known<'_>> = old.into_iter().chain(others).collect();
        let pitch = placed.get(plane).map(|plane| plane.pitch);
        let in_first = (plane > 0).then(|| read_in_first(&targets, placed, plane)).flatten();
        let slips = in_first.iter();
        let slips: Vec<_> = slips.map(|picture| Known { name: "what lies where plane 0 begins", picture }).collect();
        let suspects = Suspects { known: &known, slips: &slips, pitch, ..Suspects::default() };
        let like = guess(&targets[plane], actual, &suspects);
        let value = |picture: &Picture| sample_text(picture, yuv.planes[plane], &difference);
        let first = (value(&targets[plane]), value(actual));
        differ.push(PlaneDifference { plane, names: yuv.names(plane), first, difference, like });
    }
    Ok(differ)
}

/// What is read as plane `n`, at its own pitch, where the first plane of `planes` begins; `None` if that is not known of nearly
/// all of it.
fn read_in_first(planes: &[Picture], placed: &[Plane], n: usize) -> Option<Picture> {
    let (first, wanted) = (planes.first()?, planes.get(n)?);
    let (from, to) = (placed.first()?.pitch as usize, placed.get(n)?.pitch as usize);
    let row = |picture: &Picture| Some(picture.size.width as usize * picture.fourcc.pixel()?.bytes as usize);
    let (first_row, row) = (row(first)?, row(wanted)?);
    if from == 0 || first_row == 0 {
        return None;
    }
    let mut unknown = 0;
    let mut bytes = Vec::with_capacity(wanted.bytes.len());
    for at in (0..wanted.size.height as usize).flat_map(|y| (0..row).map(move |x| y * to + x)) {
        let (y, x) = (at / from, at % from);
        let byte = (x < first_row).then(|| first.bytes.get(y * first_row + x)).flatten();
        unknown += usize::from(byte.is_none());
        bytes.push(byte.copied().unwrap_or_default());
    }
    (unknown * 20 < bytes.len()).then_some(Picture { bytes, ..wanted.clone() })
}

/// The sample of `picture` where `difference` begins: `u 5a, v 91`.
fn sample_text(picture: &Picture, parts: &[Part], difference: &Difference) -> String {
    let Some(pixel) = picture.fourcc.pixel() else { return String::new() };
    let (x, y) = (difference.first.x as usize, difference.first.y as usize);
    let start = (y * picture.size.width as usize + x) * pixel.bytes as usize;
    let word = pixel.word(&picture.bytes[start..]);
    let value = |(part, component): (&Part, &crate::format::Component)| {
        let digits = component.bits.div_ceil(4) as usize;
        format!("{} {:0digits$x}", part.name().to_lowercase(), component.of(word))
    };
    // Components of the formats that stand in are in the order of their bytes.
    parts.iter().zip(pixel.components).map(value).collect::<Vec<_>>().join(", ")
}

impl PlaneDifference {
    /// The finding that planes differ, of which there is at least one; `what` says whose, in a sentence.
    pub fn finding(what: &str, differ: &[Self]) -> Option<Finding> {
        let worst = differ.iter().max_by_key(|one| one.difference.count)?;
        let Self { plane, names, difference, first, like } = worst;
        let count = format!("{} of {}", grouped(difference.count), counted(difference.total, "sample"));
        let verb = if difference.count == 1 { "differs" } else { "differ" };
        let at = &difference.first;
        let most: Vec<String> = names
            .split(' ')
            .zip(&difference.most)
            .map(|(name, most)| format!("{} {} of {}", name.to_lowercase(), most.off, most.full))
            .collect();
        let mut finding = Finding::new(format!("{count} of plane {plane} ({names}) {verb}: {what}"))
            .row("first", format!("x {}, y {} of the plane    target {}    actual {}", at.x, at.y, first.0, first.1))
            .row("most", format!("{}   (allowed 0)", most.join(", ")))
            .row("area", difference.area.to_string())
            .row("rows", difference.rows.to_string())
            .maybe("shape", like.as_ref().map(Guess::to_string));
        for other in differ.iter().filter(|other| other.plane != *plane) {
            let text = format!("{} differ", counted(other.difference.count, "sample"));
            finding = finding.row(format!("plane {}", other.plane), format!("({}) {text}", other.names));
        }
        Some(finding)
    }
}

/// `picture` with U and V in each other's place; `None` if it is not YUV.
pub(super) fn chroma_swapped(picture: &Picture) -> Option<Picture> {
    let (yuv, shapes) = layout(picture.fourcc, picture.size).ok()?;
    let planes = split(picture).ok()?;
    let own = |part: &Part| matches!(part, Part::U | Part::V);
    let chroma_planes: Vec<usize> =
        (0..planes.len()).filter(|&n| yuv.planes[n].len() == 1 && own(&yuv.planes[n][0])).collect();
    let mut order: Vec<usize> = (0..planes.len()).collect();
    if let [one, other] = chroma_planes[..] {
        order.swap(one, other);
    }
    let mut bytes = Vec::with_capacity(picture.bytes.len());
    for n in order {
        let (parts, sample) = (yuv.planes[n], shapes[n].bytes as usize);
        let at = |wanted: Part| parts.iter().position(|part| *part == wanted).map(|n| n * yuv.bytes as usize);
        match (at(Part::U), at(Part::V)) {
            (Some(u), Some(v)) => {
                for sample in planes[n].bytes.chunks_exact(sample) {
                    let start = bytes.len();
                    bytes.extend_from_slice(sample);
                    for byte in 0..yuv.bytes as usize {
                        bytes.swap(start + u + byte, start + v + byte);
                    }
                }
            }
            _ => bytes.extend_from_slice(&planes[n].bytes),
        }
    }
    Some(Picture { size: picture.size, fourcc: picture.fourcc, bytes })
}

/// The components of `picture` as grey images, one below the other: Y, then U and V, each in the size of its plane.
///
/// # Errors
/// It is not YUV of a format known here, or its bytes do not match its size.
pub fn greys(picture: &Picture) -> Result<Picture> {
    let (yuv, _) = layout(picture.fourcc, picture.size)?;
    let planes = split(picture)?;
    let wide = yuv.bytes == 2;
    let mut images: Vec<(u8, Size, Vec<u16>)> = Vec::new();
    for (plane, parts) in planes.iter().zip(yuv.planes) {
        for wanted in ["Y", "U", "V"] {
            let places: Vec<usize> = (0..parts.len()).filter(|&n| parts[n].name() == wanted).collect();
            if places.is_empty() {
                continue;
            }
            let bytes = yuv.bytes as usize;
            let value = |sample: &[u8], n: usize| match wide {
                true => u16::from_le_bytes([sample[n * bytes], sample[n * bytes + 1]]),
                false => u16::from(sample[n]),
            };
            let samples = plane.bytes.chunks_exact(parts.len() * bytes);
            let values = samples.flat_map(|sample| places.iter().map(move |&n| value(sample, n))).collect();
            let size = px(plane.size.width * places.len() as u32, plane.size.height);
            images.push((wanted.as_bytes()[0], size, values));
        }
    }
    // Y comes after U and V in the alphabet.
    images.sort_by_key(|(name, ..)| (*name != b'Y', *name));
    let width = images.iter().map(|(_, size, _)| size.width).max().unwrap_or(0);
    let height = images.iter().map(|(_, size, _)| size.height).sum();
    let (fourcc, outside): (_, &[u8]) =
        if wide { (Fourcc::XB48, &[0, 0, 0, 0, 0, 0x40, 0, 0]) } else { (Fourcc::XB24, &[0, 0, 0x40, 0]) };
    let mut bytes = Vec::with_capacity(width as usize * height as usize * outside.len());
    for (_, size, values) in &images {
        for row in values.chunks_exact(size.width as usize) {
            for value in row {
                let grey = value.to_le_bytes();
                (0..4).for_each(|_| bytes.extend_from_slice(&grey[..outside.len() / 4]));
            }
            (size.width..width).for_each(|_| bytes.extend_from_slice(outside));
        }
    }
    Ok(Picture { size: px(width, height), fourcc, bytes })
}
