// Programs that mine a currency, under whatever name. What they speak to a pool cannot be left out.
rule coin_miner
{
    meta:
        description = "a program that mines a cryptocurrency"
        class = "suspicious"
        severity = 8
    strings:
        $pool1 = "stratum+tcp://"
        $pool2 = "stratum+ssl://"
        $pool3 = "mining.subscribe"
        $pool4 = "mining.authorize"
        $pool5 = "\"method\":\"login\""
        $work1 = "randomx" nocase
        $work2 = "cryptonight" nocase
        $work3 = "kawpow" nocase
        $work4 = "ethash" nocase
        $work5 = "donate-level"
        $work6 = "hugepages"
        $work7 = "hashrate" nocase
    condition:
        uint32(0) == 0x464c457f and any of ($pool*) and 3 of ($work*)
}

// Packed, with the pool beside the packed part: as a setting that is appended or passed.
rule packed_coin_miner
{
    meta:
        description = "a packed program with the address of a mining pool"
        class = "malicious"
        severity = 8
    strings:
        $packed = "UPX!"
        $pool1 = "stratum+tcp://"
        $pool2 = "stratum+ssl://"
    condition:
        uint32(0) == 0x464c457f and $packed in (0..4096) and any of ($pool*)
}
