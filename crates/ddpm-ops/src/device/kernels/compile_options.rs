//! The options of NVRTC, which `compile_options.txt` lists.

use crate::device::kernels::elements::Elements;

/// The options, one per line. `tests/cuda/compile_kernels.py` reads the same file.
const OPTIONS: &str = include_str!("compile_options.txt");

/// The options for these elements and an architecture such as `compute_90`.
pub(super) fn compile_options(elements: Elements, architecture: &str) -> Vec<String> {
    let option = |line: &str| {
        line.replace("{architecture}", architecture)
            .replace("{pack}", &elements.pack.to_string())
            .replace("{bf16}", if elements.bf16 { "1" } else { "0" })
    };
    OPTIONS.lines().map(option).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_filled() {
        let options = compile_options(Elements { bf16: true, pack: 8 }, "compute_90");
        for option in ["--gpu-architecture=compute_90", "-DVEC=8", "-DBF16=1"] {
            assert!(options.iter().any(|found| found == option), "{option}: {options:?}");
        }
        assert!(options.iter().all(|option| !option.contains('{')), "{options:?}");
    }
}
