import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { expandFolders } from './folder.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ebb-folder-'))
})
afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

test('a folder stands for its recordings, by name, without those of folders below; files stay as they are', async () => {
  await mkdir(join(folder, 'below'))
  for (const name of ['b.ndjson', 'a.ndjson', 'report.html', 'below/c.ndjson']) await writeFile(join(folder, name), '')
  const file = join(folder, 'report.html')
  expect(await expandFolders([file, folder, join(folder, 'none')])).toEqual([
    file,
    join(folder, 'a.ndjson'),
    join(folder, 'b.ndjson'),
    join(folder, 'none')
  ])
})

test('a folder without recordings is an error that names it', async () => {
  await writeFile(join(folder, 'report.html'), '')
  await expect(expandFolders([folder])).rejects.toMatchObject({
    code: 'ERR_REPORT_EMPTY',
    message: `the folder ${folder} has no recording: give a folder with .ndjson files`
  })
})
