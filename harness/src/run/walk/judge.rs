//! Is the ending of a disturbed case as it should be? Pure.

use crate::disturb::{Blow, Disturbance, Fault};
use crate::peer::STEPS;
use crate::verdict::Verdict;

/// How an ending is to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Clarity {
    /// The case did not mind, and may say so: it read every pixel.
    Borne,
    /// The case failed and said what went wrong.
    Named,
    /// It must not end so.
    Wrong(String),
}

/// What APIs say for errors of the kernel that they have no word for.
const WORDS: &[&str] = &[
    // Of the dynamic linker.
    "failed to map segment",
    "VK_ERROR_OUT_OF_HOST_MEMORY",
    "VK_ERROR_OUT_OF_DEVICE_MEMORY",
    "VK_ERROR_TOO_MANY_OBJECTS",
    "VK_ERROR_INVALID_EXTERNAL_HANDLE",
    "VK_ERROR_INITIALIZATION_FAILED",
    "VK_ERROR_DEVICE_LOST",
    "EGL_BAD_ALLOC",
    "GL_OUT_OF_MEMORY",
];

/// How a peer ends that can't go on, since a call of its own failed.
const GAVE_UP: &str = "the process ended: exit status: 3";

/// How the ending of a case is to be taken that met `step` in `call`, and whose body said `text`.
pub(super) fn clarity(step: Disturbance, verdict: Verdict, text: &str, call: Option<&str>) -> Clarity {
    let wrong = |what: &str| Clarity::Wrong(what.to_owned());
    match (verdict, step) {
        (Verdict::Crash, _) => wrong("the worker does not survive it"),
        (Verdict::Timeout, _) => wrong("the case does not end"),
        (Verdict::Pass | Verdict::Known, _) => Clarity::Borne,
        (_, Disturbance::Call { fault: Fault::Interrupted, .. }) => {
            wrong("a call that a signal interrupted is not repeated")
        }
        (_, Disturbance::Signals) => wrong("signals change the verdict"),
        (_, Disturbance::Clock) => wrong("a clock that goes back changes the verdict"),
        (_, Disturbance::Nothing) => wrong("it does not pass"),
        (_, Disturbance::Call { fault, .. }) => {
            // A peer that is not our own code any more says nothing; its end is what can be said.
            if ["SIGSEGV", "SIGABRT"].iter().any(|signal| text.contains(signal)) {
                return wrong("its peer does not survive it");
            }
            let names_it = text.contains(fault.name())
                || text.contains(GAVE_UP)
                || call.is_some_and(|call| text.contains(call))
                || WORDS.iter().any(|word| text.contains(word));
            if names_it { Clarity::Named } else { wrong("the case does not say what failed") }
        }
        (_, Disturbance::Peer { .. }) if is_the_peers_end(step, text) => Clarity::Named,
        (_, Disturbance::Peer { .. }) => wrong("the case does not say which peer is gone, and in which step"),
    }
}

/// Whether `said` is that the peer is gone, which `step` has killed or stopped or had a call of fail, and in which of its steps.
pub(super) fn is_the_peers_end(step: Disturbance, said: &str) -> bool {
    let end = match step {
        Disturbance::Peer { blow: Blow::Kill, .. } => " failed: the process ended: signal: 9".to_owned(),
        Disturbance::Peer { blow: Blow::Stop, .. } => ": no answer within".to_owned(),
        Disturbance::Call { .. } => format!(" failed: {GAVE_UP}"),
        _ => return false,
    };
    let names_step = STEPS.iter().any(|step| said.contains(&format!("{step}{end}")));
    names_step && said.contains("peer process with ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_FILE: Disturbance = Disturbance::Call { fault: Fault::TooManyFiles, nth: 1 };

    #[test]
    fn a_failure_must_say_what_failed() {
        let of = |text: &str| clarity(NO_FILE, Verdict::Fail, text, Some("UDMABUF_CREATE"));
        assert_eq!(of("UDMABUF_CREATE on udmabuf: EMFILE (too many open files)"), Clarity::Named);
        assert_eq!(of("vkAllocateMemory on gpu_a: VK_ERROR_TOO_MANY_OBJECTS"), Clarity::Named);
        assert!(matches!(of("12 of 30 pixels differ"), Clarity::Wrong(_)));
        assert!(matches!(of("the process ended: signal: 11 (SIGSEGV)"), Clarity::Wrong(_)));
        assert_eq!(clarity(NO_FILE, Verdict::Pass, "", None), Clarity::Borne);
    }

    #[test]
    fn what_may_be_interrupted_must_be_repeated() {
        let step = Disturbance::Call { fault: Fault::Interrupted, nth: 1 };
        assert!(matches!(clarity(step, Verdict::Fail, "poll: EINTR", Some("poll")), Clarity::Wrong(_)));
        assert!(matches!(clarity(Disturbance::Signals, Verdict::Skip, "", None), Clarity::Wrong(_)));
    }

    #[test]
    fn a_peer_that_is_gone_is_named() {
        let step = |blow| Disturbance::Peer { blow, nth: 3 };
        let text = "letting go failed: the process ended: signal: 9 (SIGKILL)\n\n  object   peer process with gpu_a";
        assert_eq!(clarity(step(Blow::Kill), Verdict::Fail, text, None), Clarity::Named);
        assert!(matches!(clarity(step(Blow::Stop), Verdict::Fail, text, None), Clarity::Wrong(_)));
        assert!(is_the_peers_end(step(Blow::Kill), text) && !is_the_peers_end(step(Blow::Stop), text));
        let gave_up = text.replace("signal: 9 (SIGKILL)", "exit status: 3");
        assert!(is_the_peers_end(NO_FILE, &gave_up) && !is_the_peers_end(NO_FILE, text));
        let text = "attaching and mapping: no answer within 700 ms\n\n  object   peer process with gpu_a";
        assert_eq!(clarity(step(Blow::Stop), Verdict::Fail, text, None), Clarity::Named);
        let text = "asking: no answer within 700 ms\n\n  object   peer process with gpu_a";
        assert!(matches!(clarity(step(Blow::Stop), Verdict::Fail, text, None), Clarity::Wrong(_)), "in which step?");
        assert!(matches!(clarity(step(Blow::Stop), Verdict::Timeout, text, None), Clarity::Wrong(_)));
    }
}
