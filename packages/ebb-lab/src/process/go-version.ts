/** Reads the Go version that a program was built with from its executable. */
import { open } from 'node:fs/promises'

/**
 * First bytes of the build information that Go's linker puts into every program. See Go's package `debug/buildinfo`.
 */
const MAGIC = Buffer.from('\xff Go buildinf:', 'latin1')
const ALIGNMENT = 16
const HEADER = 32
/** Bit of the flags byte: the version follows the header as a string (Go 1.18 and later). */
const INLINE = 2

const CHUNK = 1_048_576
/** Bytes to search. The block is at the start of the data, after the code, and no Go program has this much code. */
const FARTHEST = 256 * CHUNK

/** Returns Go's version (`1.22.3`) if Go built the executable, else null. Returns null if the file cannot be read. */
export async function goVersion(executable: string): Promise<{ name: 'go'; version: string | null } | null> {
  const file = await open(executable).catch(() => null)
  if (file === null) return null
  try {
    // Chunks overlap, so that at least one of them contains the whole block.
    const overlap = HEADER + 64
    const buffer = Buffer.alloc(CHUNK + overlap)
    for (let position = 0; position < FARTHEST; position += CHUNK) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, position)
      const found = find(buffer.subarray(0, bytesRead))
      if (found) return found
      if (bytesRead < buffer.length) return null
    }
    return null
  } catch {
    return null
  } finally {
    await file.close()
  }
}

function find(bytes: Buffer): { name: 'go'; version: string | null } | null {
  for (let at = bytes.indexOf(MAGIC); at !== -1; at = bytes.indexOf(MAGIC, at + 1)) {
    // A program that reads build information itself has the same bytes as a constant.
    if (at % ALIGNMENT !== 0 || at + HEADER > bytes.length) continue
    const pointerSize = bytes[at + 14] as number
    const flags = bytes[at + 15] as number
    if ((flags & INLINE) === 0) {
      if (pointerSize !== 4 && pointerSize !== 8) continue
      return { name: 'go', version: null }
    }
    const length = bytes[at + HEADER] as number
    const text = bytes.toString('latin1', at + HEADER + 1, at + HEADER + 1 + length)
    const version = /^(?:go|devel go)(\d[\w.-]*)/.exec(text)?.[1]
    if (version !== undefined) return { name: 'go', version }
  }
  return null
}
