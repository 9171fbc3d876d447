/** Tests that every code of an error or a process warning is listed and documented, and that no other code is. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ERROR_CODES as LAB_CODES } from '../packages/ebb-lab/src/units/error-codes.js'
import { ROOT } from './support/cli.js'

const DOCS = readFileSync(join(ROOT, 'docs/errors.md'), 'utf8')

interface Package {
  name: string
  /** The file with the lists, which the sources below leave out. */
  lists: string
  /** Codes that the sources of the package must list. */
  isOwn: (code: string) => boolean
}

const PACKAGES: Package[] = [
  // System errors of the library get their code from the errno that the kernel returned.
  { name: 'ebb', lists: 'sys/error-codes.ts', isOwn: (code) => code.startsWith('ERR_') },
  { name: 'ebb-lab', lists: 'units/error-codes.ts', isOwn: (code) => code.startsWith('ERR_') || /^E[A-Z]+$/.test(code) }
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
    .replace(/(?:[!=]==\s*|\bcase\s+)'[A-Z_]+'/g, '')
    .replace(/'[A-Z_]+'\s*[!=]==/g, '')
    // A list of errnos that is searched.
    .replace(/\[(?:'E[A-Z]+'(?:,\s*)?)+\]/g, '')
  return [...new Set(Array.from(thrown.matchAll(/'((?:ERR_|E)[A-Z_]+)'/g), ([, code = '']) => code))].sort()
}

function warningsIn(sources: string): string[] {
  return [...new Set(Array.from(sources.matchAll(/code: '(EBB_[A-Z_]+)'/g), ([, code = '']) => code))].sort()
}

/** Returns the codes of the first column of the table under a heading. */
function documented(heading: string): string[] {
  const [, section = ''] = DOCS.split(`\n## ${heading}\n`)
  const [table = ''] = section.split('\n## ')
  return Array.from(table.matchAll(/^\| `([A-Z_]+)` \|/gm), ([, code = '']) => code)
}

async function listsOf({ name, lists }: Package): Promise<{ errors: string[]; warnings: string[] }> {
  if (name === 'ebb-lab') return { errors: Object.keys(LAB_CODES), warnings: [] }
  const { ERROR_CODES = {}, WARNING_CODES = {} } = (await import(join(ROOT, 'packages', name, 'src', lists))) as {
    ERROR_CODES?: object
    WARNING_CODES?: object
  }
  return { errors: Object.keys(ERROR_CODES), warnings: Object.keys(WARNING_CODES) }
}

describe.each(PACKAGES)('$name', (pkg) => {
  const isListed = existsSync(join(ROOT, 'packages', pkg.name, 'src', pkg.lists))
  const sources = sourcesOf(pkg)
  const thrown = thrownIn(sources).filter(pkg.isOwn)

  test('has codes', () => {
    expect(thrown.length).toBeGreaterThan(5)
  })

  test('every code that is thrown is documented, in the order of the alphabet', () => {
    const table = documented(`\`${pkg.name}\``)
    expect(table).toEqual([...table].sort())
    expect(thrown.filter((code) => !table.includes(code))).toEqual([])
  })

  test.runIf(isListed)('every code that is thrown is listed', async () => {
    const { errors, warnings } = await listsOf(pkg)
    expect(thrown.filter((code) => !errors.includes(code))).toEqual([])
    expect(warningsIn(sources).filter((code) => !warnings.includes(code))).toEqual([])
  })

  test.runIf(isListed)('no code is listed or documented that is not thrown', async () => {
    const { errors, warnings } = await listsOf(pkg)
    const isUsed = (code: string): boolean => sources.includes(`'${code}'`)
    expect([...errors, ...documented(`\`${pkg.name}\``)].filter((code) => !isUsed(code))).toEqual([])
    expect(warnings.filter((code) => !isUsed(code))).toEqual([])
    expect(documented(`\`${pkg.name}\``)).toEqual([...errors].sort())
  })
})

test('every process warning of ebb is documented', () => {
  const [ebb] = PACKAGES as [Package]
  expect(documented('Process warnings of `ebb`')).toEqual(warningsIn(sourcesOf(ebb)))
})
