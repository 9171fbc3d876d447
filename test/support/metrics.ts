/** Reads metrics as Prometheus does. */
import { expect } from 'vitest'

/**
 * Parses metric families and the names of their samples. Each family must be one block, metadata first, and occur once.
 */
export function families(text: string): Map<string, { type: string; samples: string[] }> {
  const found = new Map<string, { type: string; samples: string[] }>()
  let name = ''
  for (const line of text.split('\n')) {
    const [, key, of = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? []
    if (key !== undefined) {
      if (of !== name) expect([...found.keys()], `${of} is there twice`).not.toContain(of)
      name = of
      const family = found.get(of) ?? { type: '', samples: [] }
      expect(family.samples, `${of}: metadata after samples`).toEqual([])
      if (key === 'TYPE') family.type = rest
      found.set(of, family)
    } else if (line !== '' && line !== '# EOF') {
      const [, sample = ''] =
        /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{.*\})? (?:-?[\d.]+(?:e[-+]?\d+)?|[-+]Inf|NaN)$/i.exec(line) ?? []
      expect(sample, `not a sample: ${line}`).not.toBe('')
      expect(sample.startsWith(name), `${sample} stands under ${name}`).toBe(true)
      found.get(name)?.samples.push(sample)
    }
  }
  return found
}
