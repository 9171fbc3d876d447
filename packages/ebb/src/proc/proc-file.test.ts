import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ProcFile } from './proc-file.js'

let folder: string
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ebb-'))
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

test('finds a figure in a file of any length, and only in the contents of the last read', () => {
  const at = path.join(folder, 'status')
  const name = fc.stringMatching(/^[A-Za-z_]{1,12}$/)
  fc.assert(
    fc.property(
      fc.uniqueArray(name),
      name,
      fc.nat(),
      fc.integer({ min: 0, max: 300 }),
      (others, wanted, value, pad) => {
        const key = Buffer.from(`\n${wanted}:`)
        const lines = others.filter((other) => other !== wanted).map((other) => `${other}:\t ${' '.repeat(pad)}7 kB\n`)
        fs.writeFileSync(at, `Name:\tx\n${lines.join('')}${wanted}:\t   ${value} kB\n`)
        const file = new ProcFile(at, 16)
        try {
          file.read()
          expect(file.figure(key)).toBe(value)
          fs.writeFileSync(at, 'Name:\tx\n')
          file.read()
          expect(file.figure(key)).toBe(-1)
        } finally {
          file.close()
        }
      }
    )
  )
})

test('returns -1 for a key without a figure', () => {
  const at = path.join(folder, 'odd')
  fs.writeFileSync(at, 'Name:\tx\nVmRSS:\t kB\nEnd:')
  const file = new ProcFile(at)
  file.read()
  expect(file.figure(Buffer.from('\nVmRSS:'))).toBe(-1)
  expect(file.figure(Buffer.from('\nEnd:'))).toBe(-1)
  file.close()
})
