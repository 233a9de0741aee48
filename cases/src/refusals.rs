//! What must be refused is refused, with the error that is documented for it, and leaves everything as it was.
//!
//! Each case has the same call work before the wrong one and after it, on the same device. What is open and held is looked at right
//! before the wrong call and right after it, each thing by which one it is, and not only at the end of the case. The errors are those of the documentation of each interface, or, where
//! that names none, of the kernel's source; each file says which.
//!
//! For Vulkan there is little to refuse: what is wrong there is mostly invalid usage, whose outcome is undefined. A
//! file that is no dma-buf is such (VUID-VkImportMemoryFdInfoKHR-fd-00668, VUID-vkGetMemoryFdPropertiesKHR-fd-00673),
//! and so are a memory type that the buffer was not said to have (VUID-VkMemoryAllocateInfo-memoryTypeIndex-00648), a
//! dedicated image of another size (VUID-VkMemoryDedicatedAllocateInfo-image-02964), an export of memory that was not
//! made for it (VUID-VkMemoryGetFdInfoKHR-handleType-00671), and a modifier that is not listed
//! (VUID-VkImageCreateInfo-tiling-02353). No case does that.

use handover::error::Error;
use handover::prelude::*;

mod cards;
mod egl;
mod gbm;
mod layouts;
mod memory;
mod video;
mod vulkan;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    memory::register(cases);
    cards::register(cases);
    video::register(cases);
    egl::register(cases);
    gbm::register(cases);
    layouts::register(cases);
    vulkan::register(cases);
}

/// `bad` must be refused with one of `valid`, and leave everything as it was; `good`, the same call as it should be, works before
/// it and after it.
fn refused(
    cx: &mut Cx,
    what: &str,
    valid: &[&str],
    mut good: impl FnMut(&mut Cx) -> Outcome,
    bad: impl FnOnce(&mut Cx) -> Result<()>,
) -> Outcome {
    good(cx)?;
    refuses(cx, what, valid, bad);
    works_after(cx, what, good)
}

/// `good`, which worked before `what`, works after it.
fn works_after(cx: &mut Cx, what: &str, good: impl FnOnce(&mut Cx) -> Outcome) -> Outcome {
    match good(cx) {
        Err(Trouble::Fail(finding)) => {
            let why = format!("the call that worked before {what} does not work after it: {}", finding.summary);
            Err(Finding { summary: why, ..finding }.into())
        }
        other => {
            cx.claim("the same call afterwards", other.is_ok(), || Finding::new("it was not made"));
            other
        }
    }
}

/// `bad` must be refused with one of `valid`, and leave everything as it was. The same call as it should be is the caller's to make
/// afterwards.
pub(crate) fn refuses(cx: &mut Cx, what: &str, valid: &[&str], bad: impl FnOnce(&mut Cx) -> Result<()>) {
    let answer = cx.failing(what, bad);
    judge(cx, what, valid, answer);
}

/// A part of a case's name as people write it.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// Whether `answer` is a refusal with one of `valid`.
pub(crate) fn judge(cx: &mut Cx, what: &str, valid: &[&str], answer: Result<()>) {
    let said = answer.as_ref().err().map(|error| error.cause.to_string());
    let documented = said.as_ref().is_some_and(|said| valid.iter().any(|word| said.starts_with(word)));
    let with = match valid {
        // Whatever errno.
        ["E", ..] => String::new(),
        valid => format!(" with {}", valid.join(" or ")),
    };
    cx.claim(what, documented, || {
        let finding = match &answer {
            Ok(()) => Finding::new(format!("{what} is not refused{with}"))
                .row("like", "a check that is not made: who errs so is not told, and gets something else"),
            Err(Error { op, object, .. }) => Finding::new(format!("{what} is refused otherwise than documented"))
                .row("call", format!("{op} on {object}"))
                .row("like", "an error from below that was handed on, or taken for another"),
        };
        finding.row("target", valid.join(" or ")).row("actual", said.unwrap_or_else(|| "success".to_owned()))
    });
}
