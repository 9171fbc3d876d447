import { describe, expect, test } from 'vitest'
import { mallocState, parseMallocInfo } from './malloc-info.js'

/** What glibc 2.36 prints for two arenas, shortened. */
const TEXT = `<malloc version="1">
<heap nr="0">
<sizes>
  <size from="33" to="48" total="96" count="2"/>
  <unsorted from="65" to="1041" total="3000" count="4"/>
</sizes>
<total type="fast" count="2" size="96"/>
<total type="rest" count="5" size="33000"/>
<system type="current" size="135168"/>
<system type="max" size="135168"/>
<aspace type="total" size="135168"/>
<aspace type="mprotect" size="135168"/>
</heap>
<heap nr="1">
<sizes>
</sizes>
<total type="fast" count="0" size="0"/>
<total type="rest" count="1" size="100000"/>
<system type="current" size="204800"/>
<system type="max" size="204800"/>
<aspace type="total" size="204800"/>
<aspace type="mprotect" size="204800"/>
<aspace type="subheaps" size="1"/>
</heap>
<total type="fast" count="2" size="96"/>
<total type="rest" count="6" size="133000"/>
<total type="mmap" count="1" size="270336"/>
<system type="current" size="339968"/>
<system type="max" size="339968"/>
<aspace type="total" size="339968"/>
<aspace type="mprotect" size="339968"/>
</malloc>
`

describe('malloc_info()', () => {
  test('is read arena by arena', () => {
    expect(parseMallocInfo(TEXT)).toEqual({
      arenas: [
        { system: 135_168, free: 33_096, used: 102_072 },
        { system: 204_800, free: 100_000, used: 104_800 }
      ],
      mapped: 270_336,
      used: 477_208,
      free: 133_096,
      // Of the ends of both arenas, without a part of a page.
      freePages: 33_000 - 3000 - 4096 + 100_000 - 4096
    })
    expect(parseMallocInfo('')).toEqual({ arenas: [], mapped: 0, used: 0, free: 0, freePages: 0 })
  })

  test('of this process adds up', () => {
    const state = mallocState()
    if (state === undefined) return
    const { arenas, mapped, used, free } = state
    expect(arenas.length).toBeGreaterThan(0)
    expect(used + free).toBe(mapped + arenas.reduce((sum, { system }) => sum + system, 0))
  })
})
