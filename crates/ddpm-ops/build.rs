//! With the feature `emulated-kernels`, compiles the GPU kernels for the CPU: once for each element type and each
//! number of elements that a thread reads at once.

fn main() {
    #[cfg(feature = "emulated-kernels")]
    for (dtype, packs) in [("f32", [1, 4]), ("bf16", [1, 8])] {
        for pack in packs {
            let mut build = cc::Build::new();
            build.file("src/device/kernels/on_cpu.c").opt_level(2).warnings(true).extra_warnings(true);
            build.flag_if_supported("-Wno-unused-function");
            build.define("BF16", if dtype == "bf16" { "1" } else { "0" });
            build.define("VEC", pack.to_string().as_str());
            build.define("RUN", format!("ddpm_run_{dtype}_{pack}").as_str());
            build.compile(&format!("ddpm_kernels_{dtype}_{pack}"));
        }
    }
    println!("cargo:rerun-if-changed=src/device/kernels");
}
