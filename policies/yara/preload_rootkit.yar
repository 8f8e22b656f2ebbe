// A library that is loaded into every program and changes what they see.
rule preload_rootkit
{
    meta:
        description = "a library that hides files, processes or connections from other programs"
        class = "malicious"
        severity = 9
    strings:
        $list = "/etc/ld.so.preload"
        $next = "dlsym"
        $dir1 = "readdir64"
        $dir2 = "readdir"
        $hide1 = "/proc/net/tcp"
        $hide2 = "pam_authenticate"
        $hide3 = "/proc/%d/"
        $hide4 = "/proc/self/fd/%d"
    condition:
        // A shared object.
        uint32(0) == 0x464c457f and uint16(16) == 3 and
        $list and $next and any of ($dir*) and 2 of ($hide*) and filesize < 4MB
}
