import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { removeEarlier } from './earlier.js'

function folderWith(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'ebb-earlier-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  return folder
}

const header = (name: string, type = 'header'): string =>
  `${JSON.stringify({ type, format: 1, name })}\n{"type":"sample"`

test('removes the recordings of a server, and no other file', async () => {
  const own = ['net.ndjson', 'net.2.ndjson', 'net.2.control.ndjson', 'net.100.ndjson']
  const others = {
    'net.4.ndjson': header('net.4'),
    'net.5.ndjson': 'notes of mine\n',
    'net.6.ndjson': '',
    'net.7.ndjson': 'null\n',
    'net.old.ndjson': header('net'),
    'net.2.ndjson.bak': header('net'),
    'network.ndjson': header('net'),
    'report.html': header('net'),
    'box.2.ndjson': header('net', 'box')
  }
  const folder = folderWith({
    ...others,
    'net.1.ndjson': header('net'),
    ...Object.fromEntries(own.map((name) => [name, header('net')]))
  })
  mkdirSync(join(folder, 'net.8.ndjson'))
  symlinkSync('network.ndjson', join(folder, 'net.9.ndjson'))
  execFileSync('mkfifo', [join(folder, 'net.10.ndjson')])
  await removeEarlier({ type: 'header', file: 'net', name: 'net' }, join(folder, 'net.1.ndjson'))
  const kept = [...Object.keys(others), 'net.1.ndjson', 'net.8.ndjson', 'net.9.ndjson', 'net.10.ndjson']
  expect(readdirSync(folder)).toEqual(kept.toSorted())
})

test('removes the recordings of boxes with any name', async () => {
  const folder = folderWith({
    'box.ndjson': header('shop', 'box'),
    'box.2.ndjson': header('mail', 'box'),
    'box.3.ndjson': header('box')
  })
  await removeEarlier({ type: 'box', file: 'box' }, join(folder, 'box.1.ndjson'))
  expect(readdirSync(folder)).toEqual(['box.3.ndjson'])
})

test('rejects with the errno if the folder cannot be read', async () => {
  await expect(
    removeEarlier({ type: 'header', file: 'net', name: 'net' }, '/proc/self/nothere/net.ndjson')
  ).rejects.toMatchObject({ code: 'ENOENT' })
})
