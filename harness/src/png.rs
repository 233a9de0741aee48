//! How does a picture become a file that a person can look at, and a picture again?
//!
//! 8 bits per channel for formats of up to 8 bits, 16 for wider ones; the fourcc is kept in a `tEXt` chunk. Every
//! file appears whole or not at all.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use image::codecs::png::{PngDecoder, PngEncoder};
use image::{ColorType, ExtendedColorType, ImageDecoder, ImageEncoder};

use crate::compare::comparable;
use crate::error::{Error, Result};
use crate::format::{Channel, Component, Fourcc, Numeric, PixelLayout};
use crate::frame::Size;
use crate::pattern::LONGEST_SIDE;
use crate::picture::Picture;

/// Where the first chunk after IHDR starts: 8 bytes of signature, 25 of IHDR.
const AFTER_IHDR: usize = 33;

/// Keyword of the chunk that holds the fourcc.
const KEYWORD: &[u8] = b"fourcc";

/// Memory that decoding a file may take, in bytes: the pixels of an 8192x8192 picture of 16 bits per channel.
const MOST_MEMORY: u64 = 8192 * 8192 * 8;

/// The picture as the bytes of a PNG file.
///
/// Exact for unorm formats, without the padding bits. Half floats are clamped to 0.0 to 1.0 and rounded to 16 bits.
///
/// # Errors
/// The format is not packed RGB, or the picture has no pixel.
pub fn encode(picture: &Picture) -> Result<Vec<u8>> {
    let layout = comparable(picture, picture)?;
    let pixels = pixels(picture, layout);
    let (samples, color) = if is_wide(layout) {
        let mut samples = Vec::with_capacity(pixels.len() * 8);
        for word in pixels {
            let [r, g, b, a] = rgba_of(layout, word, 65535).map(|v| (v as u16).to_ne_bytes());
            samples.extend_from_slice(&[r[0], r[1], g[0], g[1], b[0], b[1], a[0], a[1]]);
        }
        (samples, ExtendedColorType::Rgba16)
    } else {
        let mut samples = Vec::with_capacity(pixels.len() * 4);
        pixels.for_each(|word| samples.extend_from_slice(&rgba_of(layout, word, 255).map(|v| v as u8)));
        (samples, ExtendedColorType::Rgba8)
    };
    let mut file = encode_samples(&samples, picture.size, color)?;
    file.splice(AFTER_IHDR..AFTER_IHDR, text_chunk(picture.fourcc));
    Ok(file)
}

/// The picture in the bytes of a PNG file that [`encode`] wrote; `name` is for the error's text. Padding bits are ones.
///
/// # Errors
/// The bytes are no PNG, are damaged, hold no or an unknown fourcc, or a half float format, which a PNG rounds.
pub fn decode(file: &[u8], name: &str) -> Result<Picture> {
    let refuse = |why: String| Error::input("reading a PNG file", name, why);
    let mut limits = image::Limits::no_limits();
    (limits.max_image_width, limits.max_image_height) = (Some(LONGEST_SIDE), Some(LONGEST_SIDE));
    limits.max_alloc = Some(MOST_MEMORY);
    let decoder =
        PngDecoder::with_limits(Cursor::new(file), limits).map_err(|e| refuse(format!("corrupt or no PNG: {e}")))?;

    let fourcc = fourcc_of(file).map_err(refuse)?;
    let Some(layout) = fourcc.pixel() else {
        return Err(refuse(format!("its fourcc {fourcc} is not a packed RGB format known here")));
    };
    if layout.numeric == Numeric::Float16 {
        return Err(refuse(format!("{fourcc} pixels are rounded in a PNG; AR24 or AB48 would be exact")));
    }
    let wanted = if is_wide(layout) { ColorType::Rgba16 } else { ColorType::Rgba8 };
    let found = decoder.color_type();
    if found != wanted {
        return Err(refuse(format!("its samples are {found:?}; {wanted:?} would be valid for {fourcc}")));
    }
    let (width, height) = decoder.dimensions();
    let bytes = decoder.total_bytes();
    if bytes > MOST_MEMORY {
        return Err(refuse(format!("{width}x{height} px need {bytes} B; up to {MOST_MEMORY} B would be valid")));
    }
    let mut samples = vec![0; bytes as usize];
    decoder.read_image(&mut samples).map_err(|e| refuse(format!("corrupt: {e}")))?;

    let samples: Vec<u32> = match wanted {
        ColorType::Rgba16 => samples.chunks_exact(2).map(|b| u32::from(u16::from_ne_bytes([b[0], b[1]]))).collect(),
        _ => samples.into_iter().map(u32::from).collect(),
    };
    let bytes = samples.chunks_exact(4).flat_map(|rgba| {
        let word = layout.components.iter().fold(0, |word, component| {
            let value = match rgba_index(component.channel) {
                Some(channel) => rescale(rgba[channel], if is_wide(layout) { 65535 } else { 255 }, component.full()),
                None => component.full(),
            };
            word | u64::from(value) << component.shift
        });
        word.to_le_bytes().into_iter().take(layout.bytes as usize)
    });
    Ok(Picture { size: Size { width, height }, fourcc, bytes: bytes.collect() })
}

/// Writes the picture to `path`; folders are made.
///
/// # Errors
/// As [`encode`], and those of the file system.
pub fn save(picture: &Picture, path: &Path) -> Result<()> {
    write_whole(path, &encode(picture)?)
}

/// Reads a picture from `path`.
///
/// # Errors
/// As [`decode`], and those of the file system.
pub fn load(path: &Path) -> Result<Picture> {
    let name = path.display().to_string();
    let file = fs::read(path).map_err(|e| Error::new("reading a PNG file", name.clone(), e))?;
    decode(&file, &name)
}

/// Writes `target.png`, `actual.png` and, if the two can be compared, `diff.png` into `folder`; returns their paths.
///
/// # Errors
/// As [`save`].
pub fn save_difference(target: &Picture, actual: &Picture, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = vec![folder.join("target.png"), folder.join("actual.png")];
    save(target, &paths[0])?;
    save(actual, &paths[1])?;
    if comparable(target, actual).is_ok() {
        let path = folder.join("diff.png");
        write_whole(&path, &encode_difference(target, actual)?)?;
        paths.push(path);
    }
    Ok(paths)
}

/// What differs, as the bytes of a PNG file: grey where pixels are equal; where they are not, each channel that
/// differs is bright, from half for the smallest difference on. Magenta where alpha alone differs.
///
/// # Errors
/// The pictures can't be compared.
pub fn encode_difference(target: &Picture, actual: &Picture) -> Result<Vec<u8>> {
    let layout = comparable(target, actual)?;
    let visible = layout.visible();
    let n = layout.bytes as usize;
    let mut samples = Vec::with_capacity(target.bytes.len() / n * 4);
    for (t, a) in target.bytes.chunks_exact(n).zip(actual.bytes.chunks_exact(n)) {
        let (t, a) = (layout.word(t) & visible, layout.word(a) & visible);
        let (target, actual) = (rgba_of(layout, t, 255), rgba_of(layout, a, 255));
        let pixel = if t == a {
            let [r, g, b, _] = target;
            let grey = 64 + (r + 2 * g + b) / 8;
            [grey, grey, grey, 255]
        } else {
            let mut pixel = [0, 0, 0, 255];
            for component in layout.shown().filter(|c| c.channel != Channel::A && c.of(t) != c.of(a)) {
                if let Some(channel) = rgba_index(component.channel) {
                    pixel[channel] = 128 + target[channel].abs_diff(actual[channel]) / 2;
                }
            }
            if pixel == [0, 0, 0, 255] { [255, 0, 255, 255] } else { pixel }
        };
        samples.extend_from_slice(&pixel.map(|v| v as u8));
    }
    encode_samples(&samples, target.size, ExtendedColorType::Rgba8)
}

/// The picture as 8 bits each of R, G and B, for comparisons by eye.
pub(crate) fn rgb8(picture: &Picture, layout: &PixelLayout) -> Vec<u8> {
    let mut samples = Vec::with_capacity(picture.bytes.len());
    for [r, g, b, _] in pixels(picture, layout).map(|word| rgba_of(layout, word, 255)) {
        samples.extend_from_slice(&[r as u8, g as u8, b as u8]);
    }
    samples
}

/// Writes a file so that `path` never holds half of it; folders are made.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error: std::io::Error| Error::new("writing a file", path.display().to_string(), error);
    let pending = pending(path, bytes).map_err(failed)?;
    pending.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

/// The bytes in a temporary file beside `path`, to be persisted there; gone when dropped.
pub(crate) fn pending(path: &Path, bytes: &[u8]) -> std::io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // Readable for everyone as other new files are: the umask is applied to it.
    let permissions = fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(".handover-").permissions(permissions).tempfile_in(folder)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Whether a channel needs more than 8 bits.
fn is_wide(layout: &PixelLayout) -> bool {
    layout.shown().any(|c| c.bits > 8)
}

/// The bits of all pixels.
fn pixels(picture: &Picture, layout: &PixelLayout) -> impl ExactSizeIterator<Item = u64> {
    picture.bytes.chunks_exact(layout.bytes as usize).map(|pixel| layout.word(pixel))
}

/// The channels of a pixel, R, G, B and A, as 0 to `full`; absent colour is 0, absent alpha is full.
fn rgba_of(layout: &PixelLayout, word: u64, full: u32) -> [u32; 4] {
    let mut rgba = [0, 0, 0, full];
    for component in layout.shown() {
        if let Some(channel) = rgba_index(component.channel) {
            rgba[channel] = scaled(layout.numeric, component, word, full);
        }
    }
    rgba
}

fn rgba_index(channel: Channel) -> Option<usize> {
    match channel {
        Channel::R => Some(0),
        Channel::G => Some(1),
        Channel::B => Some(2),
        Channel::A => Some(3),
        Channel::X => None,
    }
}

fn scaled(numeric: Numeric, component: &Component, word: u64, full: u32) -> u32 {
    let bits = component.of(word);
    match numeric {
        Numeric::Unorm => rescale(bits, component.full(), full),
        // The cast takes NaN to 0 and everything else to the range.
        Numeric::Float16 => (half::f16::from_bits(bits as u16).to_f32().clamp(0.0, 1.0) * full as f32).round() as u32,
    }
}

/// `value` of `from` as the nearest of `to`; both at most 65535. Back from a larger scale it is the same value again.
fn rescale(value: u32, from: u32, to: u32) -> u32 {
    (value * to + from / 2) / from
}

/// A PNG file of samples in the order of `color`, 16-bit ones in the byte order of this machine.
fn encode_samples(samples: &[u8], size: Size, color: ExtendedColorType) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    PngEncoder::new(&mut file)
        .write_image(samples, size.width, size.height, color)
        .map_err(|e| Error::input("encoding a PNG file", size.to_string(), e.to_string()))?;
    Ok(file)
}

/// A `tEXt` chunk (PNG specification, 11.3.3.3) that holds the fourcc.
fn text_chunk(fourcc: Fourcc) -> Vec<u8> {
    let data = [b"tEXt", KEYWORD, b"\0", fourcc.to_string().as_bytes()].concat();
    let length = (data.len() - 4) as u32;
    [&length.to_be_bytes()[..], &data, &crc32fast::hash(&data).to_be_bytes()].concat()
}

/// The fourcc in the `tEXt` chunk of a PNG file, or what is wrong with it.
fn fourcc_of(file: &[u8]) -> Result<Fourcc, String> {
    let mut rest = file.get(AFTER_IHDR..).unwrap_or_default();
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some(data) = after.get(..length) else { break };
        if let Some(text) = data.strip_prefix(KEYWORD).and_then(|data| data.strip_prefix(b"\0"))
            && header[4..] == *b"tEXt"
        {
            let text = String::from_utf8_lossy(text);
            return text.parse().map_err(|e| format!("its fourcc is unknown: {e}"));
        }
        // A checksum of 4 bytes follows the data; the decoder has an eye on it.
        rest = after.get(length + 4..).unwrap_or_default();
    }
    Err("it has no tEXt chunk `fourcc`, so nobody knows what its pixels were".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compare::{Tolerance, compare};
    use crate::frame::px;
    use crate::pattern::Pattern;

    fn pattern(fourcc: Fourcc, stamp: u32) -> Picture {
        Pattern { stamp }.picture(fourcc, px(31, 17)).expect("known format")
    }

    #[test]
    fn every_unorm_format_round_trips_exactly() {
        for &fourcc in Fourcc::PACKED_RGB {
            let picture = pattern(fourcc, 3);
            let decoded = decode(&encode(&picture).expect("encodable"), "a test");
            if fourcc.pixel().is_some_and(|p| p.numeric == Numeric::Float16) {
                assert!(decoded.expect_err("rounded").to_string().contains("AB48 would be exact"));
            } else {
                let difference = compare(&picture, &decoded.expect("decodable"), &Tolerance::Exact);
                assert_eq!(difference.expect("comparable"), None, "{fourcc}");
            }
        }
    }

    #[test]
    fn rescaling_there_and_back_is_exact() {
        for (small, large) in [(1, 255), (3, 65535), (15, 255), (31, 255), (63, 255), (255, 65535), (1023, 65535)] {
            for value in 0..=small {
                assert_eq!(rescale(rescale(value, small, large), large, small), value, "{value} of {small}");
            }
        }
        assert_eq!(rescale(65535, 65535, 65535), 65535);
    }

    #[test]
    fn three_files_are_written_and_the_difference_is_seen() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let target = pattern(Fourcc::AR24, 3);
        let mut actual = target.clone();
        actual.bytes[2] ^= 1;
        actual.bytes[7] ^= 1;
        let paths = save_difference(&target, &actual, &folder.path().join("new/folder")).expect("saved");
        assert_eq!(paths.len(), 3);
        assert_eq!(load(&paths[0]).expect("loaded"), target);
        assert_eq!(load(&paths[1]).expect("loaded"), actual);
        let diff = image::open(&paths[2]).expect("a PNG").into_rgba8();
        assert_eq!(diff.get_pixel(0, 0).0, [128, 0, 0, 255], "red differs by the least");
        assert_eq!(diff.get_pixel(1, 0).0, [255, 0, 255, 255], "only alpha differs");
        let [r, g, b, _] = diff.get_pixel(2, 0).0;
        assert!(r == g && g == b, "equal pixels are grey");
        let left: Vec<_> = fs::read_dir(paths[0].parent().expect("folder")).expect("readable").collect();
        assert_eq!(left.len(), 3, "no temporary file is left");
    }

    #[test]
    fn pictures_of_different_sizes_have_no_difference_file() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let other = Pattern { stamp: 3 }.picture(Fourcc::AR24, px(30, 17)).expect("known format");
        let paths = save_difference(&pattern(Fourcc::AR24, 3), &other, folder.path()).expect("saved");
        assert_eq!(paths.len(), 2);
    }

    #[test]
    fn wrong_files_are_refused_by_name() {
        let good = encode(&pattern(Fourcc::XR24, 3)).expect("encodable");
        let mut no_fourcc = good.clone();
        no_fourcc.drain(AFTER_IHDR..AFTER_IHDR + text_chunk(Fourcc::XR24).len());
        let with = |fourcc: &[u8; 4]| {
            let mut file = no_fourcc.clone();
            file.splice(AFTER_IHDR..AFTER_IHDR, text_chunk(Fourcc::new(fourcc)));
            file
        };
        let files: [(&str, Vec<u8>); 6] = [
            ("empty.png", Vec::new()),
            ("text.png", b"version https://git-lfs.example".to_vec()),
            ("half.png", good[..good.len() / 2].to_vec()),
            ("bare.png", no_fourcc.clone()),
            ("planar.png", with(b"NV12")),
            ("wide.png", with(b"AB48")),
        ];
        let texts: Vec<String> =
            files.iter().map(|(name, file)| decode(file, name).expect_err("refused").to_string()).collect();
        insta::assert_snapshot!(texts.join("\n"));
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(at in 0usize..600, bit in 0u8..8, cut in 0usize..600) {
            let mut file = encode(&pattern(Fourcc::AR24, 1)).expect("encodable");
            file.truncate(file.len().max(cut) - cut);
            let end = file.len().max(1) - 1;
            if let Some(byte) = file.get_mut(at.min(end)) {
                *byte ^= 1 << bit;
            }
            // A damaged file is refused, or what it says of its size and format is still true of its pixels.
            if let Ok(picture) = decode(&file, "damaged") {
                prop_assert!(comparable(&picture, &picture).is_ok());
            }
        }
    }
}
