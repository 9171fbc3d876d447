/** The tests of the package `ws`, with parked connections. `bench/install ws-suite` installs them. */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'

const PEERS = fileURLToPath(new URL('../../bench/.peers', import.meta.url))
const SUITE = join(PEERS, 'ws-suite')
const HOOK = fileURLToPath(new URL('../support/ws-suite-hook.cjs', import.meta.url))
const MOCHA = join(PEERS, 'node_modules/mocha/bin/mocha.js')

interface Report {
  passes: { fullTitle: string }[]
  failures: { fullTitle: string; err: { stack?: string } }[]
}

/** Runs all tests once. @param mode see ws-suite-hook.cjs; `preload`: with ebb/park */
async function run(mode: string): Promise<Report> {
  const folder = await mkdtemp(join(tmpdir(), 'ebb-ws-suite-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const report = join(folder, 'report.json')
  const reporter = ['--reporter', 'json', '--reporter-option', `output=${report}`]
  const hook = mode === 'preload' ? [] : ['--require', HOOK]
  const preload = mode === 'preload' ? ['--import', fileURLToPath(import.meta.resolve('ebb/park'))] : []
  const mocha = spawn(process.execPath, [...preload, MOCHA, '--exit', ...hook, ...reporter, 'test/*.test.js'], {
    cwd: SUITE,
    env: { ...process.env, EBB_SUITE: mode, EBB_PARK_IDLE: '1ms', EBB_PARK_LOG: '0' },
    stdio: 'ignore'
  })
  onTestFinished(() => void mocha.kill('SIGKILL'))
  await new Promise((resolve) => mocha.once('exit', resolve))
  return JSON.parse(readFileSync(report, 'utf8')) as Report
}

describe.skipIf(!existsSync(SUITE) || !existsSync(MOCHA))('every test of ws that passes with plain ws passes', () => {
  const plain = new Set<string>()

  test('plain', async () => {
    for (const { fullTitle } of (await run('plain')).passes) plain.add(fullTitle)
    expect(plain.size).toBeGreaterThan(400)
  })

  test.each(['eager', '1'])('parked: %s', async (mode) => {
    const { failures } = await run(mode)
    expect(failures.filter(({ fullTitle }) => plain.has(fullTitle))).toEqual([])
  })

  test('with ebb/park', async () => {
    const { failures } = await run('preload')
    // It waits for `connection` of an HTTP server before the client has sent a byte: see docs/reference/park.md.
    plain.delete("WebSocketServer #close emits the 'close' event after the server closes")
    expect(failures.filter(({ fullTitle }) => plain.has(fullTitle))).toEqual([])
  })
})
