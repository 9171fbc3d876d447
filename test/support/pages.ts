/** The Markdown pages of the repository: their blocks of code, headings and links. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ROOT } from './cli.js'

/** Paths from the root of the repository. */
export const PAGES: readonly string[] = [
  'README.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'bench/RESULTS.md',
  'bench/SCALE.md',
  'packages/ebb/README.md',
  'packages/ebb-lab/README.md',
  ...pagesIn('.github'),
  ...pagesIn('docs')
]

export interface Block {
  page: string
  text: string
}

/** Every block of code in this language (`''`: without a language), in the order of the pages. */
export function blocks(language: string): Block[] {
  // Each block is matched, whatever its language, so that the end of one is not taken for the start of another.
  return PAGES.flatMap((page) =>
    [...textOf(page).matchAll(/^```(\w*)\n(.*?)^```$/gms)]
      .filter(([, own]) => own === language)
      .map(([, , text = '']) => ({ page, text }))
  )
}

/** Every command of the `sh` blocks: a line each, without its comment. */
export const commands: readonly string[] = blocks('sh').flatMap(({ text }) =>
  text
    .split('\n')
    .map((line) => line.replace(/\s+#.*$/, '').trim())
    .filter((line) => line !== '')
)

function textOf(page: string): string {
  return readFileSync(join(ROOT, page), 'utf8')
}

/** The part of a page below this heading, up to the next heading of the same level. */
export function sectionOf(page: string, heading: string): string {
  const [, section = ''] = textOf(page).split(`\n${heading}\n`)
  const level = heading.replace(/ .*/, '')
  return section.split(`\n${level} `)[0] ?? ''
}

/** The links of a page that lead nowhere: no such file, or no such heading in that file. */
export function brokenLinks(page: string): string[] {
  const links = [...prose(page).matchAll(/\]\(((?!https?:)[^)\s]+)\)/g)].map(([, link = '']) => link)
  return links.filter((link) => {
    const [path = '', anchor] = link.split('#')
    const target = path === '' ? page : join(dirname(page), path)
    if (!existsSync(join(ROOT, target))) return true
    return anchor !== undefined && !anchorsOf(target).has(anchor)
  })
}

/** The anchors that GitHub gives to the headings of a page. */
function anchorsOf(page: string): Set<string> {
  const anchors = new Set<string>()
  for (const [, heading = ''] of prose(page).matchAll(/^#{1,6} (.*)$/gm)) {
    const text = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    const anchor = text
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(' ', '-')
    let unique = anchor
    for (let i = 1; anchors.has(unique); i++) unique = `${anchor}-${i}`
    anchors.add(unique)
  }
  return anchors
}

/** A page without its blocks of code. */
function prose(page: string): string {
  return textOf(page).replace(/^```.*?^```/gms, '')
}

function pagesIn(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .sort()
    .map((name) => join(folder, name))
}
