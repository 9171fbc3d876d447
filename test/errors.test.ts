/** Tests that every code of an error or a process warning is listed and documented, and that no other code is. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as ebb from 'ebb/testing'
import * as lab from 'ebb-lab/testing'
import { describe, expect, test } from 'vitest'
import { ROOT } from './support/cli.js'

const DOCS = readFileSync(join(ROOT, 'docs/errors.md'), 'utf8')

interface Package {
  name: string
  /** The file with the lists, which the sources below leave out. */
  lists: string
  /** Codes of errors and of process warnings in those lists. */
  errors: string[]
  warnings: string[]
}

const PACKAGES: Package[] = [
  {
    name: 'ebb',
    lists: 'sys/error-codes.ts',
    errors: Object.keys(ebb.ERROR_CODES),
    warnings: Object.keys(ebb.WARNING_CODES)
  },
  {
    name: 'ebb-lab',
    lists: 'units/error-codes.ts',
    errors: Object.keys(lab.ERROR_CODES),
    warnings: []
  }
]

/** Returns the sources of a package as one text, without comments, tests and its lists. */
function sourcesOf({ name, lists }: Package): string {
  const src = join(ROOT, 'packages', name, 'src')
  return readdirSync(src, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts') && file !== lists && !file.includes('testing'))
    .map((file) => readFileSync(join(src, file), 'utf8'))
    .join('\n')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '')
}

/** Returns the codes that the sources put on errors: literals that are not compared with. */
function thrownIn(sources: string): string[] {
  const thrown = sources
    .replace(/(?:[!=]==\s*|\bcase\s+)'[A-Z0-9_]+'/g, '')
    .replace(/'[A-Z0-9_]+'\s*[!=]==/g, '')
    // A list of errnos that is searched.
    .replace(/\[\s*(?:'E[A-Z0-9_]+'(?:,\s*)?)+\s*\]/g, '')
  // Names that begin with EBB are types of async resources, or warnings.
  return found(thrown, /['"`](ERR_[A-Z0-9_]+|E(?!BB)[A-Z0-9]+|UNKNOWN)['"`]/g)
}

/** Returns the codes of process warnings. Other names of this form are environment variables. */
function warningsIn(sources: string): string[] {
  return found(sources, /\b(?:code: |warn\(\s*)['"`](EBB_[A-Z0-9_]+)['"`]/g)
}

/** Returns what the first group of a pattern matches, each once, in the order of the alphabet. */
function found(text: string, pattern: RegExp): string[] {
  return [...new Set(Array.from(text.matchAll(pattern), ([, code = '']) => code))].sort()
}

/** Returns the codes of the first column of the table under a heading. */
function documented(heading: string): string[] {
  const [, section = ''] = DOCS.split(`\n## ${heading}\n`)
  const [table = ''] = section.split('\n## ')
  return Array.from(table.matchAll(/^\| `([A-Z0-9_]+)` \|/gm), ([, code = '']) => code)
}

describe.each(PACKAGES)('$name', (pkg) => {
  const { errors, warnings } = pkg
  const sources = sourcesOf(pkg)
  const thrown = thrownIn(sources)

  test('has codes', () => {
    expect(thrown.length).toBeGreaterThan(5)
  })

  test('every code that is thrown is documented, in the order of the alphabet', () => {
    const table = documented(`\`${pkg.name}\``)
    expect(table).toEqual([...table].sort())
    expect(thrown.filter((code) => !table.includes(code))).toEqual([])
  })

  test('every code that is thrown is listed', () => {
    expect(thrown.filter((code) => !errors.includes(code))).toEqual([])
    expect(warningsIn(sources).filter((code) => !warnings.includes(code))).toEqual([])
  })

  test('no code is listed or documented that is not thrown', () => {
    const isUsed = (code: string): boolean => sources.includes(`'${code}'`)
    expect([...errors, ...documented(`\`${pkg.name}\``)].filter((code) => !isUsed(code))).toEqual([])
    expect(warnings.filter((code) => !isUsed(code))).toEqual([])
    expect(documented(`\`${pkg.name}\``)).toEqual([...errors].sort())
  })
})

describe.each(PACKAGES)('$name', (pkg) => {
  const sources = sourcesOf(pkg)

  test('no code is put together at run time', () => {
    // `E${number}` is the name of an errno that Node does not know.
    expect(sources.match(/`(?:ERR_|EBB_|E[A-Z0-9]+)[A-Z0-9_]*\$\{[^`]*`|'(?:ERR|EBB)_[A-Z0-9_]*'\s*\+/g)).toBeNull()
  })

  test('every error has a code', () => {
    const bare = sources.match(/(?<!withCode\(\s*|Object\.assign\()\bnew (?:Type|Range|Syntax)?Error\(.*/g) ?? []
    expect(bare.filter((line) => !line.includes('as SystemError'))).toEqual([])
  })

  test('process warnings are emitted by warn(), or with the code of an error', () => {
    const calls = Array.from(sources.matchAll(/\bemitWarning\(([^)]*)\)/g), ([, given]) => given)
    expect(
      calls.filter((given) => !/^(?:error\.message, \{ code: error\.code \}|message, \{ code \})$/.test(given ?? ''))
    ).toEqual([])
  })
})

test('every process warning of ebb is documented', () => {
  const [library] = PACKAGES as [Package]
  expect(documented('Process warnings of `ebb`')).toEqual(warningsIn(sourcesOf(library)))
})
