//! What devices list: each format is one whose pixels are known here, so that it can be tried, or it is named here why not.
//!
//! A driver that lists a format that nobody here has heard of is so found out, instead of never being asked about it.

use std::collections::BTreeSet;
use std::sync::Arc;

use handover::ends::{Exporter, Importer, Parcel, Rows, exporters, importers};
use handover::prelude::*;
use handover::v4l2::{Device, Direction, PixelFormat, Queue};

/// DRM formats that no case can try.
const UNTRIED: &[(&[&[u8; 4]], &str)] = &[
    (
        &[b"Y410", b"XV30", b"XY30", b"NV15", b"NV20", b"NV30", b"P030", b"P230"],
        "its components share bytes, which are not computed here",
    ),
    (&[b"YU08", b"YU10"], "it has no LINEAR layout"),
    (&[b"AB12", b"AB15"], "AR12 and AR15 are tried, which have the same bits in another order"),
    (&[b"XR4H", b"AR4H", b"R  H", b"GR H", b"R  F", b"GR F", b"BGRF", b"AB8F"], "of floats XB4H and AB4H are tried"),
    (&[b"C8  ", b"D8  "], PALETTE),
    (&[b"R1  ", b"R2  ", b"R4  "], "its pixels share bytes, which are not computed here"),
];

/// V4L2 formats that no case can try.
const UNTRIED_OF_VIDEO: &[(&[&[u8; 4]], &str)] = &[
    (&[b"BA81", b"GBRG", b"GRBG", b"RGGB", b"BYR2", b"GB16", b"GR16", b"RG16"], MOSAIC),
    (&[b"BA10", b"GB10", b"BG10", b"RG10", b"BA12", b"GB12", b"BG12", b"RG12"], MOSAIC),
    (&[b"XR12", b"AB12", b"XB12", b"RA12", b"RX12", b"GA12", b"BX12", b"R444"], BITS),
    (&[b"AB15", b"XB15", b"RA15", b"RX15", b"BA15", b"BX15", b"RGBO", b"RGB1"], BITS),
    (&[b"AR15", b"XR15", b"Y16 ", b"RGBQ", b"RGBR"], "DRM's of the other order of bytes are not computed here"),
    (&[b"Y10 ", b"Y12 ", b"Y444", b"YUVO", b"YUVP", b"BGRH"], "its bits are not computed here"),
    (&[b"RGB4", b"BGR4"], "what its fourth byte is depends on the device"),
    (&[b"HSV3", b"HSV4", b"AYUV", b"XYUV", b"YUV4"], "DRM has no format with these bytes"),
    (&[b"NM12", b"NM21", b"NM16", b"NM61", b"YM12", b"YM21", b"YM16", b"YM61", b"YM24", b"YM42"], APART),
    (&[b"FWHT"], "it is a code, which v4l2::codes_* and v4l2::decodes_* are about"),
];

const PALETTE: &str = "its pixels are numbers of a palette, without which a driver may refuse to show it";
const MOSAIC: &str = "it is a sensor's mosaic, and DRM has no such format";
const BITS: &str = "AR12 and AR15 are tried, which have the same bits in another order";
const APART: &str = "its planes have memory of their own, which v4l2::copies_each_plane_from_its_own_buffer is about";

/// Which devices list DRM formats. GBM has no list: it says yes or no to what it is asked about.
const DRM: [Role; 4] = [Gles, Screen, Overlay, Cursor];

/// Which devices list V4L2 formats.
pub(crate) const VIDEO: [Role; 5] = [Video, DmaVideo, PlanarVideo, Converter, Codec];

/// What the smallest loop takes, and no row of which fills its pitch.
const SIZE: Size = px(64, 64);

const STAMP: u32 = 7;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for role in DRM {
        let name = format!("formats::what_is_listed_is_known_or_named::{role}");
        let case = cases.add(name, move |cx| drm_formats(cx, role)).to(role);
        if role == Gles {
            case.must_fail_under("egl-srgb-exposed");
        }
    }
    for role in VIDEO {
        let name = format!("formats::what_is_listed_is_known_or_named::{role}");
        let case = cases.add(name, move |cx| video_formats(cx, role)).to(role);
        if role == Video {
            case.must_fail_under("enum-fmt-invented");
        }
    }
    // Those that hand on what they are given, from scattered pages; a converter and a code do not.
    for role in [Video, PlanarVideo] {
        let name = format!("formats::what_is_listed_passes_through_a_loop::{role}");
        let case = cases.add(name, move |cx| passes(cx, role)).from(Udmabuf).to(role);
        if role == Video {
            case.must_fail_under("qbuf-sends-nothing");
        }
    }
}

/// Why `code` is not tried, if the table says so.
fn reason(table: &[(&[&[u8; 4]], &'static str)], code: u32) -> Option<&'static str> {
    table.iter().find(|(codes, _)| codes.iter().any(|known| u32::from_le_bytes(**known) == code)).map(|(_, why)| *why)
}

fn judge(cx: &mut Cx, name: String, is_known: bool, why: Option<&'static str>) {
    if let (false, Some(why)) = (is_known, why) {
        cx.fact("not tried", format!("{name}: {why}"));
    }
    cx.claim(&name, is_known || why.is_some(), || {
        Finding::new(format!("{name} is listed, and neither known here nor named as not tried"))
            .row("like", "a driver that is newer than the tables of formats, or a code that no document has")
    });
}

fn drm_formats(cx: &mut Cx, role: Role) -> Outcome {
    let listed: Vec<Fourcc> = match role {
        Gles => cx.gles()?.formats()?,
        _ => {
            let kind = match role {
                Overlay => PlaneKind::Overlay,
                Cursor => PlaneKind::Cursor,
                _ => PlaneKind::Primary,
            };
            let screen = cx.screen()?;
            let written = if role == Screen { screen.writeback_formats().to_vec() } else { Vec::new() };
            screen.plane(kind)?.formats.iter().copied().chain(written).collect()
        }
    };
    cx.claim("formats", !listed.is_empty(), || Finding::new(format!("{role} lists no format")));
    for fourcc in BTreeSet::from_iter(listed) {
        judge(cx, fourcc.to_string(), fourcc.is_known(), reason(UNTRIED, fourcc.0));
    }
    cx.agree()
}

/// The nodes of the video device that plays `role`, with what their queues are for.
pub(crate) fn queues(cx: &mut Cx, role: Role) -> Result<Vec<(Arc<Device>, Direction)>, Trouble> {
    let both =
        |device: &Arc<Device>| [Direction::Output, Direction::Capture].map(|direction| (device.clone(), direction));
    Ok(match role {
        Converter => both(cx.converter()?.device()).to_vec(),
        Codec => {
            let codec = cx.codec()?;
            [both(codec.encoder()), both(codec.decoder())].concat()
        }
        _ => {
            let video = cx.video_loop(role)?;
            vec![(video.output().clone(), Direction::Output), (video.capture().clone(), Direction::Capture)]
        }
    })
}

fn pixel_formats(cx: &mut Cx, role: Role) -> Result<BTreeSet<PixelFormat>, Trouble> {
    let mut listed = BTreeSet::new();
    for (device, direction) in queues(cx, role)? {
        listed.extend(Queue::open(&device, direction)?.pixel_formats()?);
    }
    Ok(listed)
}

fn video_formats(cx: &mut Cx, role: Role) -> Outcome {
    let listed = pixel_formats(cx, role)?;
    cx.claim("formats", !listed.is_empty(), || Finding::new(format!("{role} lists no format")));
    for pixel in listed {
        let is_known = pixel.fourcc().is_some_and(Fourcc::is_known);
        // The top bit marks the other order of bytes.
        judge(cx, pixel.to_string(), is_known, reason(UNTRIED_OF_VIDEO, pixel.0 & 0x7fff_ffff));
    }
    cx.agree()
}

/// Whatever format a loop lists that has a name in DRM, too, it hands on as it is.
fn passes(cx: &mut Cx, role: Role) -> Outcome {
    let ends = exporters()
        .into_iter()
        .find(|from| from.role() == Udmabuf)
        .zip(importers().into_iter().find(|to| to.role() == role));
    let Some((from, to)): Option<(&dyn Exporter, &dyn Importer)> = ends else { return cx.agree() };
    for fourcc in pixel_formats(cx, role)?.into_iter().filter_map(PixelFormat::fourcc) {
        let parcel = Parcel { rows: Rows::Padded, ..Parcel::of(fourcc, SIZE) };
        // Also what the matrix leaves to the other loop.
        if !fourcc.is_known() || to.lacks(cx, &parcel)?.is_some() {
            cx.fact("not tried", fourcc);
            continue;
        }
        let target = Target::stamped(STAMP, fourcc, SIZE)?;
        let mut exported = from.export(cx, &parcel, to)?;
        exported.draw(cx, STAMP)?;
        to.import(cx, exported.buffer())?.sees(cx, &target)?;
        if cx.disagrees() {
            break;
        }
    }
    cx.agree()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What planes of two drivers list, and how many of it no case tries: from `skl_universal_plane.c`, `i9xx_plane.c` and
    /// `intel_sprite.c` of i915, and `amdgpu_dm_plane.c` of amdgpu (Linux 6.x).
    const LISTED: [(&str, &[&[u8; 4]], usize); 2] = [
        (
            "i915",
            &[
                b"C8  ", b"RG16", b"XR15", b"AR15", b"XR24", b"XB24", b"AR24", b"AB24", b"XR30", b"XB30", b"AR30",
                b"AB30", b"XR4H", b"XB4H", b"AR4H", b"AB4H", b"YUYV", b"YVYU", b"UYVY", b"VYUY", b"NV12", b"P010",
                b"P012", b"P016", b"Y210", b"Y212", b"Y216", b"XYUV", b"XV30", b"XV36", b"XV48",
            ],
            4,
        ),
        (
            "amdgpu",
            &[
                b"XR24", b"AR24", b"RA24", b"XB24", b"AB24", b"XR30", b"XB30", b"AR30", b"AB30", b"XR48", b"XB48",
                b"AR48", b"AB48", b"XR4H", b"XB4H", b"AR4H", b"AB4H", b"RG16", b"NV12", b"NV21", b"P010",
            ],
            2,
        ),
    ];

    #[test]
    fn whatever_planes_of_hardware_list_is_known_or_named() {
        for (driver, codes, untried) in LISTED {
            let listed: Vec<Fourcc> = codes.iter().map(|code| Fourcc::new(code)).collect();
            let named = |fourcc: &&Fourcc| !fourcc.is_known() && reason(UNTRIED, fourcc.0).is_some();
            let unknown: Vec<_> =
                listed.iter().filter(|fourcc| !fourcc.is_known() && !named(fourcc)).map(Fourcc::to_string).collect();
            assert!(unknown.is_empty(), "{driver}: {unknown:?}");
            assert_eq!(listed.iter().filter(named).count(), untried, "{driver}");
        }
    }
}
