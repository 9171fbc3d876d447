import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Recording } from '../record/recording.js'
import { report } from './report.js'
import { sideBySide, synthetic } from './testing/synthetic.js'
import { judge } from './verdict.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ebb-report-'))
})
afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

async function save(name: string, { header, samples, events }: Recording): Promise<string> {
  const path = join(folder, name)
  const lines = [header, ...[...samples, ...events].sort((a, b) => a.t - b.t)]
  await writeFile(path, lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  return path
}

const [ebb, ebbControl, net, netControl] = sideBySide() as [Recording, Recording, Recording, Recording]

describe('report', () => {
  test('judges files like recordings in memory, each with its control', async () => {
    const files = [
      await save('net.control.ndjson', netControl),
      await save('ebb.ndjson', ebb),
      await save('net.ndjson', net),
      await save('ebb.control.ndjson', ebbControl)
    ]
    const fromFiles = await report(files)
    expect(fromFiles.verdicts).toEqual([judge(ebb, ebbControl), judge(net, netControl)])
    expect(fromFiles).toMatchObject({ files: [], notes: [] })
    expect((await report([ebb, net, ebbControl, netControl])).verdicts).toEqual(fromFiles.verdicts)
  })

  test('writes the page and the pictures, and leaves no other file', async () => {
    const out = join(folder, 'new', 'out')
    const { files } = await report([ebb, ebbControl], { out })
    expect(files).toEqual(['report.html', 'memory.svg', 'runtime.svg'].map((name) => join(out, name)))
    expect((await readdir(out)).sort()).toEqual(['memory.svg', 'report.html', 'runtime.svg'])
    expect(await readFile(join(out, 'report.html'), 'utf8')).toMatch(/<\/html>\n$/)
    expect(await readFile(join(out, 'memory.svg'), 'utf8')).toMatch(/<\/svg>$/)
  })

  test('replaces an older report', async () => {
    await report([ebb, ebbControl], { out: folder })
    const { files } = await report([net, netControl], { out: folder })
    expect(await readFile(files[0] as string, 'utf8')).toContain('node:net')
    expect(await readdir(folder)).toHaveLength(3)
  })

  test('shows a file that is given twice once, with a note', async () => {
    const path = await save('ebb.ndjson', ebb)
    const link = join(folder, 'link.ndjson')
    await symlink(path, link)
    const { verdicts, notes } = await report([path, join(folder, '.', 'ebb.ndjson'), link])
    expect(verdicts).toHaveLength(1)
    expect(notes).toHaveLength(2)
    expect(notes[0]).toContain('given twice')
  })

  test('leaves out a control without its main recording, with a note', async () => {
    const { verdicts, notes } = await report([ebb, netControl])
    expect(verdicts.map(({ name, need }) => [name, need])).toEqual([['ebb serve', null]])
    expect(notes).toEqual(['The control node:net has no main recording and is left out.'])
  })

  test('refuses controls alone, and no recordings at all', async () => {
    await expect(report([ebbControl])).rejects.toMatchObject({
      code: 'ERR_REPORT_EMPTY',
      message: expect.stringContaining('ebb serve')
    })
    await expect(report([])).rejects.toMatchObject({ code: 'ERR_REPORT_EMPTY' })
  })

  test('refuses two controls for one recording', async () => {
    await expect(report([ebb, ebbControl, { ...ebbControl }])).rejects.toMatchObject({
      code: 'ERR_REPORT_AMBIGUOUS',
      message: expect.stringContaining('2 controls for ebb serve')
    })
  })

  test('pairs recordings of the same name with the control in their folder, and adds the folder to the name', async () => {
    await mkdir(join(folder, 'before'))
    await mkdir(join(folder, 'after'))
    const small = synthetic({ role: 'control', rest: 4e6 })
    const { verdicts } = await report([
      await save('before/ebb.ndjson', ebb),
      await save('before/ebb.control.ndjson', ebbControl),
      await save('after/ebb.ndjson', ebb),
      await save('after/ebb.control.ndjson', small)
    ])
    expect(verdicts.map((verdict) => verdict.name)).toEqual(['ebb serve (before)', 'ebb serve (after)'])
    expect(verdicts.map((verdict) => verdict.need)).toEqual([judge(ebb, ebbControl).need, judge(ebb, small).need])
  })

  test('adds a number to the names of recordings in memory that have the same name', async () => {
    const { verdicts } = await report([ebb, { ...ebb }])
    expect(verdicts.map((verdict) => verdict.name)).toEqual(['ebb serve (1)', 'ebb serve (2)'])
  })

  test('notes that recordings come from different machines', async () => {
    const elsewhere = { ...net, header: { ...net.header, kernel: 'Linux 5.4' } }
    expect((await report([ebb, ebbControl, elsewhere])).notes.join()).toContain('different machines')
  })

  test('refuses a recording of another format, and names it', async () => {
    const newer = { ...ebb, header: { ...ebb.header, format: 2 as 1 } }
    await expect(report([newer])).rejects.toMatchObject({
      code: 'ERR_RECORDING_FORMAT',
      message: expect.stringContaining('format 2')
    })
    await expect(report([await save('newer.ndjson', newer)])).rejects.toThrow(/format/)
  })

  test('names a file that does not exist', async () => {
    await expect(report([join(folder, 'none.ndjson')])).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringContaining('none.ndjson')
    })
  })

  test('refuses an out that is a file, or below a file, with one sentence', async () => {
    const file = await save('ebb.ndjson', ebb)
    await expect(report([file], { out: file })).rejects.toMatchObject({
      code: 'EEXIST',
      syscall: 'mkdir',
      message: expect.stringContaining(file)
    })
    await expect(report([file], { out: join(file, 'below') })).rejects.toMatchObject({ code: 'ENOTDIR' })
  })

  test('leaves no temporary file if a file in out cannot be replaced', async () => {
    await mkdir(join(folder, 'out', 'report.html'), { recursive: true })
    await expect(report([ebb], { out: join(folder, 'out') })).rejects.toMatchObject({
      syscall: 'rename',
      message: expect.stringContaining('report.html')
    })
    expect(await readdir(join(folder, 'out'))).toEqual(['report.html'])
  })

  // Root may write everywhere.
  test.skipIf(process.getuid?.() === 0)('refuses an out that this user may not write with one sentence', async () => {
    await chmod(folder, 0o500)
    await expect(report([ebb], { out: folder })).rejects.toMatchObject({
      code: 'EACCES',
      message: expect.stringContaining('permission denied')
    })
    await chmod(folder, 0o700)
  })
})
