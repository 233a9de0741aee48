//! Who says that it takes dma-bufs in, or hands some out, does, and who does not say so refuses. Of cards only the latter holds:
//! the kernel says of each that it does both, from 6.6 on, whatever its driver can.
//!
//! Source: `DRM_CAP_PRIME` in the kernel's `include/uapi/drm/drm.h`; `V4L2_BUF_CAP_*` of `VIDIOC_REQBUFS` in its V4L2
//! documentation.

use handover::dmabuf::page_size;
use handover::error::Error;
use handover::prelude::*;
use handover::udmabuf;
use handover::v4l2::{Kinds, Memory, Queue};

use crate::formats::{VIDEO, queues};

pub(super) fn register(cases: &mut Cases<Cx>) {
    for card in [Vgem, Screen] {
        cases
            .add(format!("queries::a_card_imports_and_exports_as_it_says::{card}"), move |cx| card_does(cx, card))
            .to(card)
            .needs(Need::Device(Udmabuf))
            .must_fail_under("prime-import-unsaid")
            .must_fail_under("prime-export-unsaid");
    }
    for role in VIDEO {
        cases
            .add(format!("queries::a_queue_has_the_memory_that_it_says::{role}"), move |cx| queue_does(cx, role))
            .to(role)
            .must_fail_under("queue-dmabuf-unsaid");
    }
}

fn card_does(cx: &mut Cx, card: Role) -> Outcome {
    let prime = cx.prime(card)?;
    let says = prime.says()?;
    // Who wants one run of addresses has it in a page.
    let (given, _) = udmabuf::create(page_size() as u64)?;
    let imported = prime.import(&given).map(drop);
    let exported = prime.own().map(drop);
    let mut refused = Vec::new();
    for (bit, is_said, call, answer) in [
        ("DRM_PRIME_CAP_IMPORT", says.imports, "DRM_IOCTL_PRIME_FD_TO_HANDLE", imported),
        ("DRM_PRIME_CAP_EXPORT", says.exports, "DRM_IOCTL_PRIME_HANDLE_TO_FD", exported),
    ] {
        match answer {
            Err(error) if is_said && error.op == call => {
                cx.fact("said of every card", format!("{bit}; here {error}"));
                refused.push(error.to_string());
            }
            answer => does(cx, &card, (bit, is_said), call, answer)?,
        }
    }
    if let [import, export] = refused.as_slice() {
        return Err(Trouble::Skip(format!("its driver does neither: {import}; {export}")));
    }
    cx.agree()
}

fn queue_does(cx: &mut Cx, role: Role) -> Outcome {
    for (device, direction) in queues(cx, role)? {
        let mut queue = Queue::open(&device, direction)?;
        let Some(says) = queue.says()? else {
            return Err(Trouble::Skip("its driver does not say what its buffers can be in".to_owned()));
        };
        for memory in [Memory::Own, Memory::Dmabuf] {
            let made = queue.request(memory, 1).map(drop);
            queue.release()?;
            let who = queue.to_string();
            does(cx, &who, (Kinds::bit(memory), says.has(memory)), "VIDIOC_REQBUFS", made)?;
        }
    }
    cx.agree()
}

/// Claims that `call` of `who` works if `bit` is said, and is refused if it is not.
fn does(
    cx: &mut Cx,
    who: &impl std::fmt::Display,
    (bit, is_said): (&str, bool),
    call: &str,
    answer: Result<()>,
) -> Outcome {
    let refused: Option<Error> = match answer {
        Ok(()) => None,
        Err(error) if error.op == call => Some(error),
        Err(error) => return Err(error.into()),
    };
    cx.claim(format!("{bit} of {who}"), is_said == refused.is_none(), || {
        let finding = match is_said {
            true => Finding::new(format!("{bit} is said, and {call} fails")),
            false => Finding::new(format!("{bit} is not said, and {call} works")),
        };
        finding
            .row("object", who.to_string())
            .maybe("answer", refused.as_ref().map(Error::to_string))
            .row("like", "an answer that was not kept up with what the driver does")
    });
    Ok(())
}
