//! The same code, compiled for several processors.
//!
//! The loops over a mixer's lanes are whole numbers throughout, so the compiler may use any vector instructions without a
//! change of their results: one source is scalar twin and kernel at once.

/// Instructions that work is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kernel {
    /// Those that every processor of the target has.
    Portable,
    /// 256-bit vectors of x86-64.
    Avx2,
    /// 512-bit registers of x86-64, and masks.
    Avx512,
}

/// Something to be run on a kernel. [`Work::run`] and what it calls in its loops are `#[inline(always)]`, or they stay
/// compiled for the portable one.
pub trait Work {
    /// What comes out.
    type Output;

    /// Does it.
    fn run(self) -> Self::Output;
}

impl Kernel {
    /// The best one of this processor.
    pub fn detect() -> Self {
        Self::available().last().copied().unwrap_or(Self::Portable)
    }

    /// Those that this processor has, the best one last.
    pub fn available() -> Vec<Self> {
        let mut kernels = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx2() {
                kernels.push(Self::Avx2);
            }
            if has_avx512() {
                kernels.push(Self::Avx512);
            }
        }
        kernels
    }

    /// Runs `work` with these instructions; with those of every processor where this one does not have them.
    #[allow(unsafe_code, reason = "calls into code for processors that have what it is compiled for")]
    pub fn run<W: Work>(self, work: W) -> W::Output {
        #[cfg(target_arch = "x86_64")]
        if self != Self::Portable {
            if self == Self::Avx512 && has_avx512() {
                // SAFETY: the processor has just said that it has these features.
                return unsafe { run_avx512(work) };
            }
            if has_avx2() {
                // SAFETY: the processor has just said that it has these features.
                return unsafe { run_avx2(work) };
            }
        }
        work.run()
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    has_avx2() && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn run_avx2<W: Work>(work: W) -> W::Output {
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,avx512f,avx512vl")]
fn run_avx512<W: Work>(work: W) -> W::Output {
    work.run()
}
