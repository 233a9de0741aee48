//! What `gbm_bo_import(GBM_BO_IMPORT_FD_MODIFIER)` refuses.
//!
//! `gbm.c` of Mesa says that "errno is set", and not to what: any refusal will do.

use handover::gbm::AskedImport;
use handover::prelude::*;
use handover::stray::Stray;

use super::{refused, words};

const SIZE: Size = px(64, 64);

type Change = fn(&mut AskedImport);

const CHANGES: [(&str, Change); 2] =
    [("no_fd", |asked| asked.num_fds = 0), ("a_format_that_nobody_knows", |asked| asked.format = 0x3939_5a5a)];

/// Whatever errno is left, or none, as long as it is GBM that refuses.
const ANY: &[&str] = &["E", "no errno is set"];

pub(super) fn register(cases: &mut Cases<Cx>) {
    for (name, change) in CHANGES {
        let case = cases.add(format!("refusals::gbm_refuses::{name}"), move |cx| refuses(cx, name, change));
        case.from(Udmabuf).to(Gbm).must_fail_under("gbm-unchecked");
    }
    // A memory file is taken as if it were one: `kms_swrast` does not ask. PRIME does: see `cards`.
    for stray in Stray::ALL.into_iter().filter(|stray| *stray != Stray::Memfd) {
        cases
            .add(format!("refusals::gbm_refuses::{}", stray.as_str()), move |cx| {
                let open = stray.open()?;
                refuses(cx, &stray.to_string(), |asked| asked.fds[0] = open.number())
            })
            .from(Udmabuf)
            .to(Gbm);
    }
}

/// By the node that gives memory: what the other one keeps is the business of
/// `ownership::gbm_lets_go_of_what_it_took_in`.
fn refuses(cx: &mut Cx, what: &str, change: impl Fn(&mut AskedImport)) -> Outcome {
    let gbm = cx.gbm()?.gives;
    let buffer = cx.udmabuf(Fourcc::XR24, SIZE, &[Guest::Gbm(&gbm)])?;
    let plain = cx.mapped(&Guest::Gbm(&gbm), &buffer, Access::Read, |_, shared| Ok(AskedImport::of(shared)))?;
    let mut wrong = plain;
    change(&mut wrong);
    let good = |_: &mut Cx| Ok(gbm.try_import(&plain)?);
    refused(cx, &format!("an import by GBM with {}", words(what)), ANY, good, |_| gbm.try_import(&wrong))?;
    cx.agree()
}
