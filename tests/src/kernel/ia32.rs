//! System calls by the 32-bit convention of x86, which a 64-bit program can make as well.

use std::ffi::CStr;

use nix::libc;

/// Makes a call; the result as the kernel gives it, `None` where there is no such convention or
/// the kernel has none of it.
#[cfg(target_arch = "x86_64")]
pub fn call(number: i32, [first, second, third]: [u32; 3]) -> Option<i32> {
    let result: i32;
    // SAFETY: callers pass arguments that the call takes; the kernel keeps all other registers.
    unsafe {
        std::arch::asm!(
            "push rbx", "mov ebx, {first:e}", "int 0x80", "pop rbx",
            first = in(reg) first,
            inlateout("eax") number => result,
            in("ecx") second, in("edx") third, in("esi") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    (result != -libc::ENOSYS).then_some(result)
}

#[cfg(not(target_arch = "x86_64"))]
pub fn call(_number: i32, _arguments: [u32; 3]) -> Option<i32> {
    None
}

/// Copies a string to where such a call can name it; it stays there.
pub fn low(text: &CStr) -> Option<u32> {
    let bytes = text.to_bytes_with_nul();
    // SAFETY: new memory, which is as long as what is copied into it.
    unsafe {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | LOW;
        let place = libc::mmap(std::ptr::null_mut(), bytes.len(), access, flags, -1, 0);
        if place == libc::MAP_FAILED {
            return None;
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.cast(), bytes.len());
        u32::try_from(place.expose_provenance()).ok()
    }
}

#[cfg(target_arch = "x86_64")]
const LOW: i32 = libc::MAP_32BIT;
#[cfg(not(target_arch = "x86_64"))]
const LOW: i32 = 0;
