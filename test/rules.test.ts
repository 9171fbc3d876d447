/** The rules of `npm run check` that this project made itself: each is broken once, and the checker names it. */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const WIDE = 'word '.repeat(25)

/** A file without a fault, so that a rule that reports everything is seen, too. */
const FINE = 'export const fine = 1\n'
const PACKAGE = (name: string, exports: object) => JSON.stringify({ name, version: '1.0.0', type: 'module', exports })

/** A project in small. Its faults are listed in {@link IMPORTS} and {@link LINT}. */
const PROJECT: Record<string, string> = {
  'package.json': JSON.stringify({ name: 'project', private: true, type: 'module', dependencies: { ebb: '1.0.0' } }),
  'tsconfig.json': JSON.stringify({ compilerOptions: { module: 'NodeNext', strict: true, types: [] } }),
  'node_modules/koffi/package.json': JSON.stringify({ name: 'koffi', version: '1.0.0', main: 'index.js' }),
  'node_modules/koffi/index.js': '',
  'node_modules/koffi/index.d.ts': 'export function load(name: string | null): object\n',
  'node_modules/ebb/package.json': PACKAGE('ebb', {
    '.': { types: './dist/index.d.ts', default: './dist/index.js' },
    './sys': './dist/sys.js'
  }),
  'node_modules/ebb/dist/sys.js': FINE,
  'node_modules/ebb/dist/index.d.ts': 'export declare function later(): Promise<void>\n',
  'node_modules/ebb/dist/index.js': 'export async function later() {}\n',
  'packages/ebb/package.json': PACKAGE('ebb', { '.': './dist/index.js', './testing': './dist/testing.js' }),
  'packages/ebb/dist/testing.js': FINE,
  'packages/ebb/dist/index.js': FINE,
  'packages/ebb-lab/package.json': PACKAGE('ebb-lab', { '.': './dist/index.js' }),

  'packages/ebb/src/index.ts': "export { fine } from './park/park.js'\nexport { later } from './sys/later.js'\n",
  'packages/ebb/src/sys.ts': "export * as libc from './sys/libc.js'\n",
  'packages/ebb/src/sys/libc.ts': "import koffi from 'koffi'\nexport const library = koffi.load(null)\n",
  'packages/ebb/src/sys/later.ts': 'export async function later(): Promise<void> {}\n',
  'packages/ebb/src/sys/up.ts': "import type { fine } from '../memory/fine.js'\nexport type Up = typeof fine\n",
  'packages/ebb/src/sys/face.ts': "import { fine } from '../index.js'\nexport const face = fine\n",
  'packages/ebb/src/sys/koffi.ts': "import koffi from 'koffi'\nexport const second = koffi.load(null)\n",
  'packages/ebb/src/sys/internals.ts': [
    'export function internals(socket: object): unknown[] {',
    '  const open = socket as { _handle?: object }',
    "  if ('_pipeName' in socket) return [open._handle]",
    '  const { _server } = socket as Record<string, unknown>',
    "  return [_server, process.binding('fs'), process.getBuiltinModule('_http_common'), own(socket)]",
    '}',
    'const own = (socket: object) => Object.getOwnPropertySymbols(socket).find(isHandle)',
    "const isHandle = (symbol: symbol) => symbol.description === 'handle'",
    'declare const process: { binding(name: string): unknown; getBuiltinModule(name: string): unknown }',
    ''
  ].join('\n'),
  'packages/ebb/src/sys/self.ts': "export { later as self } from 'ebb'\n",
  'packages/ebb/src/sys/self.test.ts': "export { later } from 'ebb'\nexport { fine } from 'ebb/testing'\n",
  'packages/ebb/src/sys/hidden-internals.ts': [
    'export function hidden(socket: Record<string, unknown>): unknown[] {',
    "  const KEY = '_handle'",
    "  const KEYS = ['_handle', `_pipeName`] as const",
    "  const own = [socket[KEY], socket[KEYS[0]], Reflect.get(socket, '_handle')]",
    "  own.push(Object.getOwnPropertyDescriptor(socket, '_handle'), Object.getOwnPropertyDescriptors(socket)._handle)",
    "  own.push((process as { binding(name: string): unknown }).binding('tcp_wrap'))",
    '  const { binding } = process',
    '  const { getOwnPropertySymbols: symbols } = Object',
    '  own.push((socket as { a: string } & Record<string, unknown>)[`_handle`])',
    '  // The parts of a text are not names of properties.',
    "  const text = (own.length > 1 ? '_total' : '') + '_seconds'",
    '  return [...own, binding, symbols(socket), text]',
    '}',
    'declare const process: { binding(name: string): unknown }',
    ''
  ].join('\n'),
  'packages/ebb/src/sys/hidden-imports.ts': [
    "import { createRequire, createRequire as make } from 'node:module'",
    'const need = make(import.meta.url)',
    "export const up = need('../memory/fine.js')",
    "export const face = createRequire(import.meta.url)('ebb')",
    'export const any = (name: string) => import(name)',
    "export const { version } = need('ebb/package.json') as { version: string }",
    "export const builtIn = need('node:fs') as object",
    ''
  ].join('\n'),
  'packages/ebb/src/sys/hidden-koffi.ts': [
    "import { createRequire } from 'node:module'",
    'const need = createRequire(import.meta.url)',
    "export const calls = [need('koffi/index.js'), need(`koffi`)]",
    ''
  ].join('\n'),
  'packages/ebb/src/sys/node/internals.ts': 'export const handleOf = (socket: { _handle: object }) => socket._handle\n',
  'packages/ebb/src/sys/floating.ts': [
    "import { later } from './later.js'",
    'export function now(): void {',
    '  later()',
    '  void later()',
    '  if (later()) setTimeout(async () => await later(), 1)',
    '}',
    'declare function setTimeout(call: () => void, ms: number): void',
    ''
  ].join('\n'),
  'packages/ebb/src/sys/wide.ts': `// ${WIDE}\nexport const wide = '${WIDE}'\n/**\n * ${WIDE}\n */\nexport const second = 1\n`,
  'packages/ebb/src/memory/fine.ts': FINE,
  'packages/ebb/src/memory/libc.ts': "import { library } from '../sys/libc.js'\nexport const own = library\n",
  'packages/ebb/src/memory/test.ts': "import { fine } from './fine.test.js'\nexport const tested = fine\n",
  'packages/ebb/src/memory/fine.test.ts': FINE,
  'packages/ebb/src/memory/nowhere.ts': "import { gone } from './gone.js'\nexport const nowhere = gone\n",
  'packages/ebb/src/park/park.ts': "import { fine as deep } from '../memory/fine.js'\nexport const fine = deep\n",
  'packages/ebb/src/park/sibling.ts': "import type { first } from '../listen/first.js'\nexport type S = typeof first\n",
  'packages/ebb/src/listen/first.ts': "import type { Second } from './second.js'\nexport const first: Second = 1\n",
  'packages/ebb/src/listen/second.ts':
    "import type { first } from './first.js'\nexport type Second = 1 | typeof first\n",
  'packages/ebb/src/attic/box.ts': "import { fine } from '../memory/fine.js'\nexport const box = fine\n",
  'packages/ebb/src/memory/lab.ts':
    "import { fine } from '../../../ebb-lab/src/units/fine.js'\nexport const laboratory = fine\n",
  'packages/ebb/src/memory/lab.test.ts':
    "import { fine } from '../../../ebb-lab/src/units/fine.js'\nimport { help } from '../../../../test/support/help.js'\nexport const laboratory = [fine, help]\n",
  'packages/ebb-lab/src/units/fine.ts': FINE,
  'packages/ebb-lab/src/record/sibling.ts': "import { fine } from '../pulse/fine.js'\nexport const sibling = fine\n",
  'packages/ebb-lab/src/pulse/libc.ts': [
    "import { libc } from 'ebb/sys'",
    "import * as sys from 'ebb/sys'",
    "export { libc as again } from 'ebb/sys'",
    "export * from 'ebb/sys'",
    "import { fine } from 'ebb/sys'",
    "export const late = () => import('ebb/sys')",
    'export const all = [libc, sys, fine]',
    ''
  ].join('\n'),
  'packages/ebb-lab/src/pulse/fine.ts': "import { later } from 'ebb'\nexport const fine = later\n",

  'bench/one/main.mjs':
    "import { two } from '../two/two.mjs'\nimport { table } from '../harness/table.mjs'\ntable(two)\n",
  'bench/two/two.mjs': 'export const two = 2\n',
  'bench/harness/table.mjs': 'export const table = () => {}\n',
  'bench/one/starts.mjs': [
    "export const program = new URL('../two/two.mjs', import.meta.url)",
    "export const shared = [new URL('../harness/table.mjs', import.meta.url), new URL('../RESULTS.md', import.meta.url)]",
    ''
  ].join('\n'),
  'bench/two/libc.mjs': "import { libc } from 'ebb/sys'\nexport const called = libc\n",
  'bench/two/built.mjs': [
    "import { join } from 'node:path'",
    "export const joined = join('packages', 'ebb', 'dist', 'index.js')",
    "export const url = new URL('dist/', new URL('packages/ebb/', import.meta.url))",
    `export const template = (name) => \`packages/\${name}/dist\``,
    "export const sum = (name) => 'packages/' + name + '/dist'",
    "export const source = join('packages', 'ebb', 'src')",
    ''
  ].join('\n'),
  'bench/harness/built.mjs': "export const path = new URL('../../packages/ebb/dist/index.js', import.meta.url)\n",
  'test/support/help.ts': 'export const help = 1\n',
  'test/exports.test.ts': "import { later } from 'ebb'\nawait later()\n",
  'test/floating.test.ts': "import { later } from 'ebb'\nlater()\n",
  'test/source.test.ts': "import { fine } from '../packages/ebb/src/memory/fine.js'\nexport const source = fine\n",
  'test/built.test.ts': "import { fine } from '../packages/ebb/dist/index.js'\nexport const built = fine\n"
}

/** What dependency-cruiser must say: rule, importing file, imported file. */
const IMPORTS = [
  ['floors-ebb-sys', 'packages/ebb/src/sys/up.ts', 'packages/ebb/src/memory/fine.ts'],
  ['floors-ebb-sys', 'packages/ebb/src/sys/face.ts', 'packages/ebb/src/index.ts'],
  ['floors-ebb-park', 'packages/ebb/src/park/sibling.ts', 'packages/ebb/src/listen/first.ts'],
  ['floors-ebb-lab-record', 'packages/ebb-lab/src/record/sibling.ts', 'packages/ebb-lab/src/pulse/fine.ts'],
  ['no-face-imported', 'packages/ebb/src/sys/face.ts', 'packages/ebb/src/index.ts'],
  ['no-self-import', 'packages/ebb/src/sys/self.ts', 'packages/ebb/dist/index.js'],
  ['no-self-import-in-tests', 'packages/ebb/src/sys/self.test.ts', 'packages/ebb/dist/index.js'],
  ['every-file-has-a-room', 'packages/ebb/src/attic/box.ts', 'packages/ebb/src/memory/fine.ts'],
  ['no-circles', 'packages/ebb/src/listen/first.ts', 'packages/ebb/src/listen/second.ts'],
  ['libc-in-sys-only', 'packages/ebb/src/memory/libc.ts', 'packages/ebb/src/sys/libc.ts'],
  ['koffi-in-libc-only', 'packages/ebb/src/sys/koffi.ts', 'node_modules/koffi/index.js'],
  ['public-exports-only', 'test/source.test.ts', 'packages/ebb/src/memory/fine.ts'],
  ['public-exports-only', 'test/built.test.ts', 'packages/ebb/dist/index.js'],
  ['packages-apart', 'packages/ebb/src/memory/lab.ts', 'packages/ebb-lab/src/units/fine.ts'],
  ['unit-tests-apart', 'packages/ebb/src/memory/lab.test.ts', 'packages/ebb-lab/src/units/fine.ts'],
  ['benchmarks-apart', 'bench/one/main.mjs', 'bench/two/two.mjs'],
  ['tests-not-imported', 'packages/ebb/src/memory/test.ts', 'packages/ebb/src/memory/fine.test.ts'],
  ['resolvable', 'packages/ebb/src/memory/nowhere.ts', './gone.js']
]

/** What Oxlint must say: rule, file, lines. */
const LINT: [rule: string, file: string, lines: number[]][] = [
  ['typescript(no-floating-promises)', 'packages/ebb/src/sys/floating.ts', [3]],
  ['typescript(no-misused-promises)', 'packages/ebb/src/sys/floating.ts', [5, 5]],
  // Of a function that another package exports.
  ['typescript(no-floating-promises)', 'test/floating.test.ts', [2]],
  ['ebb(node-internals)', 'packages/ebb/src/sys/internals.ts', [2, 3, 3, 4, 5, 5, 7]],
  ['ebb(node-internals)', 'packages/ebb/src/sys/hidden-internals.ts', [2, 3, 3, 4, 5, 5, 6, 7, 8, 9]],
  ['ebb(no-koffi)', 'packages/ebb/src/sys/koffi.ts', [1]],
  ['ebb(no-koffi)', 'packages/ebb/src/sys/hidden-koffi.ts', [3, 3]],
  ['ebb(no-libc)', 'packages/ebb-lab/src/pulse/libc.ts', [1, 2, 3, 4, 6]],
  ['ebb(no-libc)', 'bench/two/libc.mjs', [1]],
  ['ebb(visible-imports)', 'packages/ebb/src/sys/hidden-imports.ts', [3, 4, 5]],
  ['ebb(benchmarks-apart)', 'bench/one/starts.mjs', [1]],
  ['ebb(no-built-path)', 'bench/two/built.mjs', [2, 3, 4, 5]],
  ['ebb(no-built-path)', 'bench/harness/built.mjs', [1]],
  ['ebb(no-built-path)', 'test/built.test.ts', [1]],
  ['ebb(comment-width)', 'packages/ebb/src/sys/wide.ts', [1, 4]]
]

let project: string

beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), 'ebb-rules-'))
  for (const name of ['.dependency-cruiser.mjs', '.oxlintrc.json', 'tools'])
    cpSync(join(ROOT, name), join(project, name), { recursive: true })
  for (const [path, text] of Object.entries(PROJECT)) {
    mkdirSync(dirname(join(project, path)), { recursive: true })
    writeFileSync(join(project, path), text)
  }
})

afterAll(() => rmSync(project, { recursive: true, force: true }))

function run(command: string, args: string[], cwd = project) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' })
  return { status, stdout, stderr }
}

const binary = (name: string) => join(ROOT, 'node_modules/.bin', name)

describe('import direction', () => {
  interface Cruised {
    summary: { violations: { rule: { name: string }; from: string; to: string }[] }
  }

  test('every rule finds its fault, and nothing else', () => {
    const config = ['--config', '.dependency-cruiser.mjs', '--output-type', 'json']
    const { stdout, stderr } = run(binary('depcruise'), [
      ...config,
      'packages/ebb/src',
      'packages/ebb-lab/src',
      'bench',
      'test'
    ])
    expect(stderr).toBe('')
    const { violations } = (JSON.parse(stdout) as Cruised).summary
    const found = violations.map(({ rule, from, to }) => [rule.name, from, to])
    expect(found.sort()).toEqual([...IMPORTS].sort())
  })

  test('ends with an error', () => {
    const { status } = run(binary('depcruise'), ['--config', '.dependency-cruiser.mjs', 'test'])
    expect(status).not.toBe(0)
  })
})

describe('lint', () => {
  interface Linted {
    diagnostics: { code: string; filename: string; labels: { span: { line: number } }[] }[]
  }

  test('every rule finds its fault, and nothing else', () => {
    const { status, stdout } = run(binary('oxlint'), ['--format', 'json'])
    const lines = new Map<string, number[]>()
    for (const { code, filename, labels } of (JSON.parse(stdout) as Linted).diagnostics) {
      const key = `${code} ${filename}`
      lines.set(
        key,
        [...(lines.get(key) ?? []), labels[0]?.span.line ?? 0].sort((a, b) => a - b)
      )
    }
    expect(Object.fromEntries(lines)).toEqual(
      Object.fromEntries(LINT.map(([rule, file, at]) => [`${rule} ${file}`, at]))
    )
    expect(status).not.toBe(0)
  })
})

describe('prose', () => {
  const check = (name: string, text: string) => {
    writeFileSync(join(project, name), text)
    return run(process.execPath, ['tools/prose/check.mjs', name])
  }

  test('a wide line of Markdown is an error; tables, code, HTML and long links are not', () => {
    const link = `[text](https://example.com/${'a'.repeat(120)})`
    const lines = ['# Page', '', WIDE, `- ${WIDE}`, `| ${WIDE} |`, '```sh', WIDE, '```', `<p>${WIDE}`, link]
    const text = [...lines, `${link} and more`, ''].join('\n')
    const { status, stderr } = check('page.md', text)
    expect(stderr).toBe(
      'page.md:3: 125 columns, at most 120\npage.md:4: 127 columns, at most 120\npage.md:11: 157 columns, at most 120\n'
    )
    expect(status).toBe(1)
  })

  test('a wide comment of a script is an error; a wide command is not', () => {
    const { status, stderr } = check('script.sh', `#!/bin/sh\n# ${WIDE}\necho ${WIDE}\n`)
    expect(stderr).toBe('script.sh:2: 127 columns, at most 120\n')
    expect(status).toBe(1)
  })

  test('a page within 120 columns passes', () => {
    expect(check('page.md', '# Page\n\nText.\n')).toMatchObject({ status: 0, stderr: '' })
  })
})

describe('commits', () => {
  test('a subject of more than 72 characters is an error', () => {
    const repository = join(project, 'repository')
    mkdirSync(repository)
    const git = (...args: string[]) =>
      run(
        'git',
        ['-c', 'user.name=a', '-c', 'user.email=a@example.com', '-c', 'commit.gpgsign=false', ...args],
        repository
      )
    git('init', '--quiet')
    git('commit', '--quiet', '--allow-empty', '-m', 'a'.repeat(72))
    git('commit', '--quiet', '--allow-empty', '-m', 'b'.repeat(73))
    const script = join(ROOT, 'tools/commits.mjs')
    const { status, stderr } = run(process.execPath, [script, 'HEAD'], repository)
    expect(stderr).toMatch(/^[0-9a-f]+: subject has 73 characters, at most 72: b+\n$/)
    expect(status).toBe(1)
    expect(run(process.execPath, [script, 'HEAD~1'], repository)).toMatchObject({ status: 0, stderr: '' })
  })
})
