import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { makeFolder } from './folder.js'

function temporary(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ebb-folder-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return folder
}

test('makes the folders above, for this user only, and lets one be that exists', () => {
  const folder = join(temporary(), 'a/b/c')
  makeFolder(folder)
  makeFolder(folder)
  for (const path of [folder, join(folder, '..')]) expect(statSync(path).mode & 0o777).toBe(0o700)
})

test('says why it cannot, also where the kernel makes no folders', () => {
  const file = join(temporary(), 'file')
  writeFileSync(file, '')
  expect(() => makeFolder(join(file, 'below'))).toThrow(expect.objectContaining({ code: 'ENOTDIR' }))
  expect(() => makeFolder('/proc/ebb/below')).toThrow(expect.objectContaining({ code: 'ENOENT' }))
})
