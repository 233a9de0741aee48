//! What this driver can do wrong, or in an unusual way, by the names of `handover-faults`. Pure.

macro_rules! deeds {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// One thing that is done otherwise than the real driver does it; `handover-faults` says exactly how.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each has the name of a fault, which says what it is")]
        pub enum Deed { $($variant),+ }

        impl Deed {
            /// All there are.
            pub const ALL: &[Deed] = &[$(Deed::$variant),+];

            /// Its name in `handover-faults`.
            pub fn name(self) -> &'static str {
                match self { $(Deed::$variant => $name),+ }
            }
        }
    };
}

deeds! {
    // The list that the project began with.
    PitchTooLarge = "pitch-too-large",
    ImportOffsetIgnored = "import-offset-ignored",
    BottomRowsLost = "bottom-rows-lost",
    LinearVanishes = "linear-vanishes",
    ModifierUnusable = "modifier-unusable",
    RedBlueSwapped = "red-blue-swapped",
    AlphaOne = "alpha-one",
    ImportLeaksFd = "import-leaks-fd",
    FdClosedTwice = "fd-closed-twice",
    NoMemoryType = "no-memory-type",
    MemfdForDmabuf = "memfd-for-dmabuf",
    ImportCopies = "import-copies",
    StaleMap = "stale-map",
    ReleaseLate = "release-late",
    ImportedFenceIgnored = "imported-fence-ignored",
    ExportedFenceEarly = "exported-fence-early",
    // More.
    ImportOffsetRounded = "import-offset-rounded",
    ImportPitchRounded = "import-pitch-rounded",
    PitchInPixels = "pitch-in-pixels",
    SecondPlaneLost = "second-plane-lost",
    DisjointBoundToFirst = "disjoint-bound-to-first",
    SizeOfLayoutZero = "size-of-layout-zero",
    ImageBoundAtZero = "image-bound-at-zero",
    BufferBoundAtZero = "buffer-bound-at-zero",
    MemorySizeShort = "memory-size-short",
    PlaneCountTwo = "plane-count-two",
    ModifierReportedInvalid = "modifier-reported-invalid",
    TiledOffset64 = "tiled-offset-64",
    FeaturesLost = "features-lost",
    SecondListEmpty = "second-list-empty",
    SrgbDecoded = "srgb-decoded",
    MemoryTypeBeyondAll = "memory-type-beyond-all",
    ImportWantsPadding = "import-wants-padding",
    ImportNotOffered = "import-not-offered",
    ImportZeroFills = "import-zero-fills",
    ExportReallocates = "export-reallocates",
    SameFdTwice = "same-fd-twice",
    RefusedImportTakesFd = "refused-import-takes-fd",
    RefusedImportUnknown = "refused-import-unknown",
    ImportedMemoryNeverFreed = "imported-memory-never-freed",
    TailNotFlushed = "tail-not-flushed",
    AcquireDiscards = "acquire-discards",
    FenceSignalledEarly = "fence-signalled-early",
    FenceWaitInterrupted = "fence-wait-interrupted",
    FreeClearsShared = "free-clears-shared",
    OpaqueImportSeparate = "opaque-import-separate",
    ExportInherited = "export-inherited",
    ListCountWhole = "list-count-whole",
    RowsBehindWritten = "rows-behind-written",
    LastRowLost = "last-row-lost",
    RowsBehind1024Lost = "rows-behind-1024-lost",
    FenceImportDropped = "fence-import-dropped",
    FenceResetKeepsImport = "fence-reset-keeps-import",
    SemaphoreImportKeepsFd = "semaphore-import-keeps-fd",
    CounterWaitDropped = "counter-wait-dropped",
    FenceImportKeepsFd = "fence-import-keeps-fd",
    SyncFdClosedTwice = "sync-fd-closed-twice",
    ListedModifierCrashes = "listed-modifier-crashes",
    PlaneCountZero = "plane-count-zero",
    PlaneCountEndless = "plane-count-endless",
    PitchZero = "pitch-zero",
    SizeOfLayoutEndless = "size-of-layout-endless",
    FdOfAnotherType = "fd-of-another-type",
    DedicatedUnsaid = "dedicated-unsaid",
    MinusOnePending = "minus-one-pending",
    SemaphoreImportStays = "semaphore-import-stays",
    NoFdIsMinusOne = "no-fd-is-minus-one",
    LayoutOffsetZero = "layout-offset-zero",
    ExternalReleaseLate = "external-release-late",
    BufferReleaseLate = "buffer-release-late",
    ReleaseDiscards = "release-discards",
    AcquireBringsBack = "acquire-brings-back",
    AcquireBeforeWait = "acquire-before-wait",
    AcquireStale = "acquire-stale",
    ViewStale = "view-stale",
    SwizzledTwice = "swizzled-twice",
    PlanesRefused = "planes-refused",
    PitchAndSizeTooLarge = "pitch-and-size-too-large",
    OpaqueSemaphoreCopied = "opaque-semaphore-copied",
    OpaqueFenceForGood = "opaque-fence-for-good",
    OpaqueFenceUntilReset = "opaque-fence-until-reset",
    // Legal.
    PassesThrough = "passes-through",
    PitchOf512 = "pitch-of-512",
    DoneIsMinusOne = "done-is-minus-one",
    ListInOtherOrder = "list-in-other-order",
    ModifierOfTwoPlanes = "modifier-of-two-planes",
    DedicatedOnly = "dedicated-only",
    AlignmentOf64Ki = "alignment-of-64-ki",
    MemoryTypeMore = "memory-type-more",
    LargeAtom = "large-atom",
    OpaqueFences = "opaque-fences",
}

impl Deed {
    /// Whether its driver has a modifier of its own beside LINEAR, by which it lays images out in rows all the same.
    pub(crate) fn has_tiles(self) -> bool {
        matches!(self, Self::TiledOffset64 | Self::ModifierOfTwoPlanes)
    }

    /// Whether its driver hands semaphores and fences on as opaque fds, which the real one need not.
    pub(crate) fn hands_on_opaque(self) -> bool {
        matches!(
            self,
            Self::OpaqueFences | Self::OpaqueSemaphoreCopied | Self::OpaqueFenceForGood | Self::OpaqueFenceUntilReset
        )
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Deed> {
        Self::ALL.iter().copied().find(|deed| deed.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use handover_faults::Seam;

    use super::*;

    #[test]
    fn every_fault_of_a_vulkan_driver_can_be_done_and_no_other() {
        let here: BTreeSet<&str> = Deed::ALL.iter().map(|deed| deed.name()).collect();
        let listed = handover_faults::all().filter(|fault| matches!(fault.seam, Seam::VulkanA | Seam::VulkanB));
        assert_eq!(here, listed.map(|fault| fault.name).collect());
    }
}
