import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ebb, run, server } from './support/cli.js'
import { descendants, memoryOf } from './support/processes.js'
import { directory } from './support/sockets.js'

interface Line {
  type: string
  event?: string
  anonymous: number
  resident: number
  processes?: number
  name?: string
}

const lines = (text: string): Line[] =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

test('--pid agrees with /proc/PID/status and with ps', async () => {
  const cli = await server()
  // While the server is stopped, its memory does not change between the two readings.
  cli.kill('SIGSTOP')
  const { code, stdout } = await run(['record', '--pid', String(cli.pid), '--duration', '300ms'])
  const resident = Number(spawnSync('ps', ['-o', 'rss=', '-p', String(cli.pid)], { encoding: 'utf8' }).stdout) * 1024
  const samples = lines(stdout).filter(({ type }) => type === 'sample')
  expect(code).toBe(0)
  expect(samples.at(-1)).toMatchObject({
    anonymous: memoryOf(cli.pid, 'RssAnon'),
    resident: memoryOf(cli.pid, 'VmRSS')
  })
  expect(samples.at(-1)?.resident).toBe(resident)
})

test('--port with --out, until Ctrl-C, writes a complete recording', async () => {
  const cli = await server()
  const out = join(directory(), 'server.ndjson')
  const recording = ebb(['record', '--port', String(cli.port), '--out', out])
  await recording.said(/Recording process/)
  expect(await recording.end('SIGINT')).toMatchObject({ code: 0 })
  const all = lines(readFileSync(out, 'utf8'))
  expect(all[0]).toMatchObject({ type: 'header', role: 'main' })
  expect(all.at(-1)).toMatchObject({ event: 'end', reason: 'stopped' })

  // A recording is not replaced unasked, but a file without contents is written to.
  const again = (...args: string[]): ReturnType<typeof run> =>
    run(['record', '--port', String(cli.port), '--duration', '200ms', ...args])
  const taken = `ebb: EEXIST: ${out} exists: give another file with --out, or add --overwrite to replace it\n`
  expect(await again('--out', out)).toMatchObject({ code: 1, stderr: taken })
  expect(lines(readFileSync(out, 'utf8'))).toEqual(all)
  expect(await again('--out', out, '--overwrite')).toMatchObject({ code: 0 })
  expect(lines(readFileSync(out, 'utf8'))).not.toEqual(all)
  const empty = join(directory(), 'empty.ndjson')
  writeFileSync(empty, '')
  expect(await again('--out', empty)).toMatchObject({ code: 0 })
})

test('-- COMMAND: the lines of the server are recorded, and its end ends the recording', async () => {
  const out = join(directory(), 'server.ndjson')
  const source =
    "console.log('Cycle #  1: 7 clients | System: 3 Inuse: 2 Released: 1 Objects: -'); setTimeout(() => {}, 1000)"
  const { code } = await run(['record', '--out', out, '--', process.execPath, '-e', source])
  expect(code).toBe(0)
  const all = lines(readFileSync(out, 'utf8'))
  expect(all.find(({ event }) => event === 'cycle')).toMatchObject({ cycle: 1, clients: 7, system: 3 })
  expect(all.at(-1)).toMatchObject({ event: 'end', reason: 'exited', exitCode: 0 })
})

test('the last line tells how a command ended', async () => {
  const out = ['--overwrite', '--out', join(directory(), 'server.ndjson')]
  const end = async (source: string): Promise<string | undefined> => {
    const { code, stderr } = await run([
      'record',
      ...out,
      '--',
      process.execPath,
      '-e',
      `setTimeout(() => { ${source} }, 1000)`
    ])
    expect(code).toBe(0)
    return stderr.trim().split('\n').at(-1)
  }
  expect(await end("console.error('Error: no database'); process.exit(7)")).toMatch(
    /^\d+ samples? in .*; the command ended with exit code 7; it said: Error: no database$/
  )
  expect(await end("process.kill(process.pid, 'SIGKILL')")).toMatch(/; the command ended by SIGKILL$/)
})

test('--tree adds up a process and its descendants, by port and by pid', async () => {
  const cli = await server(['--procs', '3'])
  const pids = [cli.pid, ...descendants(cli.pid)]
  for (const whom of [
    ['--port', String(cli.port)],
    ['--pid', String(cli.pid)]
  ]) {
    const { code, stdout, stderr } = await run(['record', '--tree', ...whom, '--duration', '300ms'])
    expect(code).toBe(0)
    expect(stderr).toContain(`Recording process ${cli.pid} `)
    const last = lines(stdout).findLast(({ type }) => type === 'sample')
    expect(last).toMatchObject({ processes: 4 })
    const sum = pids.reduce((bytes, pid) => bytes + memoryOf(pid, 'RssAnon'), 0)
    expect(Math.abs((last?.anonymous ?? 0) - sum)).toBeLessThan(sum / 20)
  }
  const several = await run(['record', '--port', String(cli.port)])
  expect(several).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^ebb: EEXIST: 3 processes listen on port .*--tree/)
  })
})

test('the recording ends if the reader of standard output is gone', async () => {
  const cli = await server()
  const recording = ebb(['record', '--pid', String(cli.pid)])
  await recording.said(/"type":"sample"/)
  recording.process.stdout?.destroy()
  expect((await recording.ended).code).toBe(0)
})

test('bad input is reported in one sentence, with exit code 1', async () => {
  const cli = await server()
  const pid = String(cli.pid)
  const folder = directory()
  mkdirSync(join(folder, 'taken'))
  const cases: [string[], RegExp][] = [
    [[], /the server to record is not given, or given twice: give exactly one/],
    [['--pid', pid, '--port', String(cli.port)], /the server to record is not given, or given twice: give exactly one/],
    [['--pid', '4194304'], /there is no process 4194304: check the pid \(pgrep -a NAME\), or give --port$/],
    [['--pid', 'x'], /process id/],
    [['--port', '1'], /no process listens on port 1/],
    [['--pid', pid, '--out', join(folder, 'taken')], /directory/],
    [['--pid', pid, '--out', join(folder, 'no', 'such')], /no such/],
    [['--pid', pid, '--out', '/dev/full'], /no space left/],
    [['--pid', pid, '--expvar', 'ftp://x/'], /http/],
    [['--', '/no/such/program'], /no such program/]
  ]
  for (const [args, sentence] of cases) {
    const { code, stderr, stdout } = await run(['record', ...args])
    expect({ args, code, stdout }).toEqual({ args, code: 1, stdout: '' })
    expect(stderr.trimEnd().split('\n').at(-1)).toMatch(sentence)
    expect(stderr).not.toMatch(/^\s+at /m)
  }
})
