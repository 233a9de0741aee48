//! Of what is tried together, and which pairs are.

use std::collections::BTreeSet;

use super::*;

/// What is varied, by its name and the value of `parcel`. In RGB the last two have one value.
fn values(parcel: &Parcel) -> [String; YUV_FACTORS] {
    let Parcel { fourcc, size, rows, start, planes, way } = parcel;
    [
        format!("{fourcc}"),
        format!("{size}"),
        format!("rows {rows:?}"),
        format!("start {start:?}"),
        format!("dedicated {}", way.dedicated),
        format!("elsewhere {}", way.elsewhere),
        format!("order {:?}", way.order),
        format!("planes {planes:?}"),
        format!("fd per plane {}", way.fd_per_plane),
    ]
}

/// Every two values that some of `parcels` has together.
fn pairs(parcels: &[Parcel]) -> BTreeSet<(String, String)> {
    let of_one = |parcel: &Parcel| {
        let values = values(parcel);
        let pairs = (0..YUV_FACTORS).flat_map(|one| (one + 1..YUV_FACTORS).map(move |other| (one, other)));
        pairs.map(|(one, other)| (values[one].clone(), values[other].clone())).collect::<Vec<_>>()
    };
    parcels.iter().flat_map(of_one).collect()
}

fn every_pair() -> impl Iterator<Item = (&'static dyn Exporter, &'static dyn Importer)> {
    exporters().into_iter().chain(fillers()).flat_map(|from| importers().into_iter().map(move |to| (from, to)))
}

#[test]
fn every_two_values_that_are_possible_together_are_tried_together() {
    for (from, to) in every_pair() {
        let all = pairs(&parcels(from, to, usize::MAX, |_| true));
        let tried = pairs(&parcels(from, to, 2, |_| true));
        let missing: Vec<_> = all.difference(&tried).collect();
        assert!(missing.is_empty(), "{} to {}: {missing:?}", from.role(), to.role());
    }
}

#[test]
fn every_two_values_that_are_possible_together_in_yuv_reach_each_importer_that_is_no_screen() {
    let from_memory = || every_pair().filter(|(from, _)| from.role() == Udmabuf);
    let mut reached = Vec::new();
    // Who has another one of its kind before it is tried in one way.
    for (from, to) in from_memory().filter(|(_, to)| !is_of_a_screen(to.role()) && to.strength() > 1) {
        let all = pairs(&yuv_parcels(from, to, Some(usize::MAX)));
        let tried = pairs(&yuv_parcels(from, to, None));
        let missing: Vec<_> = all.difference(&tried).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", to.role());
        if !all.is_empty() {
            reached.push(to.role());
        }
    }
    for to in [GpuA, GpuB, Gles, Video, Cpu] {
        assert!(reached.contains(&to), "{to}, of {reached:?}");
    }
    let lies = |fourcc: Fourcc, what: fn(&Parcel) -> bool| {
        let of = |parcel: &Parcel| parcel.fourcc == fourcc && what(parcel);
        from_memory().any(|(from, to)| to.role() == Gles && yuv_parcels(from, to, None).iter().any(of))
    };
    for fourcc in [Fourcc::NV12, Fourcc::NV21, Fourcc::NV24, Fourcc::YU12, Fourcc::YV12, Fourcc::P010] {
        assert!(lies(fourcc, |parcel| parcel.start == Start::Behind), "{fourcc}");
        assert!(lies(fourcc, |parcel| parcel.planes == Planes::Gaps), "{fourcc}");
        assert!(lies(fourcc, |parcel| parcel.planes == Planes::Backwards), "{fourcc}");
        assert!(lies(fourcc, |parcel| parcel.way.fd_per_plane), "{fourcc}");
    }
    assert!(lies(Fourcc::YUYV, |parcel| parcel.start == Start::Behind));
    assert!(YUV.iter().any(|fourcc| lies(*fourcc, |parcel| parcel.way.fd_per_plane && parcel.start == Start::Behind)));
}

/// The pairs without a case. What a converter makes has no alpha, and planes above the lowest one are given what is blended.
const APART: [(Role, Role); 2] = [(Converter, Overlay), (Converter, Cursor)];

#[test]
fn every_pair_that_has_a_format_in_common_has_a_case() {
    let pairs = every_pair().filter(|(from, to)| parcels(*from, *to, 0, |_| true).is_empty());
    let without: Vec<_> = pairs.map(|(from, to)| (from.role(), to.role())).collect();
    assert_eq!(without, APART, "left: pairs that no case has; right: those that can have none");
}

#[test]
fn a_frame_is_handed_over_in_every_way_that_there_is_between_two_devices() {
    let is_gpu = |role: Role| [GpuA, GpuB].contains(&role);
    for (from, to) in every_pair() {
        let told = format!("{} to {}", from.role(), to.role());
        let (exports, imports) = (is_gpu(from.role()), is_gpu(to.role()));
        for strength in [1, 2] {
            let tried = parcels(from, to, strength, |_| true);
            let has = |what: fn(&Way) -> bool| tried.iter().any(|parcel| what(&parcel.way));
            if tried.is_empty() {
                continue;
            }
            assert_eq!(has(|way| way.dedicated), exports || imports, "{told}");
            assert_eq!(has(|way| way.elsewhere), imports, "{told}");
            assert_eq!(has(|way| way.order == Order::ExportFirst), exports, "{told}");
            let keeps = imports || [Gles, GlesGbm, Gbm, Vgem].contains(&to.role());
            assert_eq!(has(|way| way.order == Order::ImportFirst), keeps, "{told}");
            assert!(has(|way| !way.dedicated) && has(|way| !way.elsewhere), "{told}");
            assert!(has(|way| way.order == Order::BindFirst), "{told}");
        }
        let yuv = yuv_parcels(from, to, None);
        let several = yuv.iter().any(|parcel| parcel.fourcc.planes().is_some_and(|planes| planes.len() > 1));
        let apart = several && [Cpu, Gles, GlesGbm, Screen].contains(&to.role());
        assert_eq!(yuv.iter().any(|parcel| parcel.way.fd_per_plane), apart, "{told}");
    }
}

#[test]
fn a_large_frame_and_a_wide_one_leave_each_exporter_and_reach_each_importer_that_can() {
    let large: Vec<_> = every_pair().filter(|(from, to)| !large_parcels(*from, *to).is_empty()).collect();
    // These two have one size.
    let has_one = |from: &&dyn Exporter| [ScreenB, Converter].contains(&from.role());
    for from in exporters().into_iter().chain(fillers()).filter(|from| !has_one(from)) {
        assert!(large.iter().any(|(other, _)| other.role() == from.role()), "{}", from.role());
    }
    for to in [GpuA, GpuB, Gles, Gbm, Screen, Vgem, Video, Cpu] {
        assert!(large.iter().any(|(_, other)| other.role() == to), "{to}");
    }
    assert!(large.len() < 30, "they take long: {}", large.len());
}
