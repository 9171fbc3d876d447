/**
 * `npm run bench`: its peers behave as the benchmark requires, and its results are written as table, page and picture.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { type Recording, start, synthetic } from 'ebb-lab/testing'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Cli, ROOT } from './support/cli.js'
import { directory, gone, until } from './support/sockets.js'

interface Peer {
  id: string
  name: string
  command: string[]
}

const { PEERS } = (await import(join(ROOT, 'bench/peers/list.mjs'))) as { PEERS: Peer[] }
const { missing } = (await import(join(ROOT, 'bench/harness/servers.mjs'))) as {
  missing(peer: Peer): string | undefined
}

describe.each(PEERS.map((peer) => ({ ...peer, absent: missing(peer) })))('$name', ({ command, absent }) => {
  test.skipIf(absent !== undefined)(
    `accepts connections, drops data and closes${absent ? `: ${absent}` : ''}`,
    async () => {
      const { pid, host, port, launched } = await start(command)
      onTestFinished(async () => void (await launched?.stop()))
      const descriptors = (): number => readdirSync(`/proc/${pid}/fd`).length
      const open = async (): Promise<Socket> => {
        const socket = connect({ host, port, allowHalfOpen: true })
        onTestFinished(() => void socket.destroy())
        await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
        return socket
      }

      // Counts before the first connection, because a busy server may close it later than the client sees.
      const before = descriptors()
      const talker = await open()
      let answer = 0
      talker.on('data', (bytes) => {
        answer += bytes.length
      })
      // More than the kernel buffers for a server that does not read.
      await new Promise((resolve, reject) => talker.once('error', reject).write(Buffer.alloc(32 << 20), resolve))
      talker.end()
      await gone(talker)
      expect(answer).toBe(0)

      const crowd = await Promise.all(Array.from({ length: 200 }, open))
      await until(() => descriptors() >= before + 200)
      for (const socket of crowd) socket.resume().end()
      await Promise.all(crowd.map(gone))
      await until(() => descriptors() < before + 100)
    }
  )
})

const bench = (...args: string[]): Cli => new Cli([process.execPath, join(ROOT, 'bench/peers/main.mjs'), ...args])

/** Returns a recording as the recorder writes it. */
function lines({ header, samples, events }: Recording): string {
  const rest = [...samples, ...events].sort((a, b) => a.t - b.t)
  return [header, ...rest].map((line) => `${JSON.stringify(line)}\n`).join('')
}

test('writes the medians of earlier rounds as a table, a page and a picture', async () => {
  const out = directory()
  const plan = JSON.parse(
    (
      await new Cli([
        process.execPath,
        '-p',
        "import('ebb-lab').then((lab) => console.log(JSON.stringify(lab.QUICK_PLAN))), ''"
      ]).ended
    ).stdout
  )
  for (const [round, rest] of [3, 90, 5].entries()) {
    for (const [id, name, keeps] of [
      ['c', 'C, epoll', 0],
      ['go', 'Go net', 1]
    ] as const) {
      const folder = join(out, `round-${round + 1}`, id)
      const server = { name, rest: rest * 1e6, perConnection: 4000, keeps, runtime: null }
      await mkdir(folder, { recursive: true })
      await writeFile(join(folder, 'main.ndjson'), lines(synthetic(server)))
      await writeFile(join(folder, 'control.ndjson'), lines(synthetic({ ...server, role: 'control' })))
      await writeFile(join(folder, 'box.json'), JSON.stringify({ plan, proportional: rest * 2e6 }))
    }
  }
  const { code, stdout } = await bench('--quick', '--resume', '--only', 'c,go', '--out', out).ended
  expect(code).toBe(0)
  const rows = stdout.trimEnd().split('\n')
  expect(rows.filter((row) => row.length > 120)).toEqual([])
  // Medians of the rounds: rest, footprint, ..., proportional share.
  expect(rows[2]).toMatch(/^C, epoll +5\.\d .* 10\.0$/)
  expect(rows[3]).toMatch(/^Go net +5\.\d .* never .* 10\.0$/)
  const page = readFileSync(join(out, 'RESULTS.md'), 'utf8')
  expect(page).toContain('3 rounds')
  expect(page).toMatch(/^\| Go net \| 5\.\d \|/m)
  expectSameFigures(page, readFileSync(join(out, 'memory.svg'), 'utf8'), 3)

  // A run of one server leaves the others as they are.
  await bench('--quick', '--resume', '--only', 'go', '--out', out).ended
  expect(tableOf(readFileSync(join(out, 'RESULTS.md'), 'utf8'))).toEqual(tableOf(page))
})

test('sections of other benchmarks come from the folder, or stay as they are on the page', async () => {
  const { withSections } = (await import(join(ROOT, 'bench/peers/sections.mjs'))) as {
    withSections(page: string, folder: string, present?: string): string
  }
  const empty = directory()
  const page = 'first\n\n## The servers\n\nlast\n'
  expect(withSections(page, empty)).toBe(page)

  const measured = directory()
  await writeFile(join(measured, 'handover.md'), '| figure $& |\n')
  const handover = withSections(page, measured)
  expect(handover).toMatch(
    /^first\n\n<!-- bench:handover -->\n## Handovers\n\n[^|]+\| figure \$& \|\n<!-- .*? -->\n\n## The servers\n\nlast\n$/s
  )
  // Written anew, the page keeps the section; a page that has it does not get it twice.
  expect(withSections(page, empty, handover)).toBe(handover)
  expect(withSections(handover, measured, handover)).toBe(handover)

  await writeFile(join(measured, 'websocket.md'), '| other |\n')
  const both = withSections(handover, measured, handover)
  expect(both.indexOf('| other |')).toBeLessThan(both.indexOf('| figure $& |'))
})

test('splits a table that is wider than the terminal, without losing cells', async () => {
  const { textTable } = (await import(join(ROOT, 'bench/peers/figures.mjs'))) as {
    textTable(rows: string[][], width: number): string
  }
  const cells = Array.from({ length: 11 }, (_, i) => `${i}00.0`)
  const wide = textTable([['one', ...cells]], 200).split('\n')
  expect(wide).toHaveLength(3)
  const narrow = textTable([['one', ...cells]], 60).split('\n')
  expect(Math.max(...narrow.map((line) => line.length))).toBeLessThanOrEqual(60)
  const found = narrow.filter((line) => line.startsWith('one')).flatMap((line) => line.split(/ +/).slice(1))
  expect(found).toEqual(cells)
})

test.each([
  ['a server that there is not', ['--only', 'c,nosuch'], /no such server: nosuch; there are c, /],
  ['no rounds', ['--rounds', '0'], /--rounds/],
  ['an option that there is not', ['--nosuch'], /--nosuch/]
])('prints one sentence and ends with exit code 1 for %s', async (_, args, sentence) => {
  const { code, stdout, stderr } = await bench(...args).ended
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toMatch(sentence)
  expect(stderr).not.toMatch(/^\s+at /m)
})

test('bench/install prints one sentence and ends with exit code 1 for an unknown peer', async () => {
  const { code, stderr } = await new Cli([join(ROOT, 'bench/install'), 'nosuch']).ended
  expect(code).toBe(1)
  expect(stderr).toMatch(/^bench\/install: no such peer: nosuch; there are c .*\n$/)
})

test('the README shows six rows of RESULTS.md, and of each the first nine columns', () => {
  const [readme, results] = ['README.md', 'bench/RESULTS.md'].map((page) =>
    tableOf(readFileSync(join(ROOT, page), 'utf8'))
  ) as [string[][], string[][]]
  const servers = ['server', '---', 'C, epoll', 'ebb, Node 20', 'Node 20 net', 'Go net', 'Bun', 'Rust, Tokio']
  expect(readme).toEqual(servers.map((name) => results.find((cells) => cells[0] === name)?.slice(0, 9)))
})

test('results.svg shows the figures of the table in RESULTS.md', () => {
  const [page, picture] = ['RESULTS.md', 'results.svg'].map((name) => readFileSync(join(ROOT, 'bench', name), 'utf8'))
  expectSameFigures(page as string, picture as string, 3)
})

/** Compares every figure that a picture has as text with the table of a page: retention, footprint, release time. */
function expectSameFigures(page: string, picture: string, rounds: number): void {
  const [heading = [], , ...rows] = tableOf(page)
  const at = (word: string): number => heading.findIndex((title) => title.startsWith(word))
  const texts = Array.from(picture.matchAll(/<text[^>]*>([^<]*)<\/text>/g), ([, text = '']) => text)
  const release = (text: string): string => {
    const [, number = '', unit] = /^back after ([\d.]+) (m?s)$/.exec(text) ?? []
    if (unit === undefined) return text === 'never back' ? 'never' : '0.0'
    return (Number(number) / (unit === 'ms' ? 1000 : 1)).toFixed(1)
  }
  const found = texts.flatMap((text, index) => {
    const match = /^retention (\S+) · (.+) B per connection · (\d+) runs$/.exec(text)
    return match === null ? [] : [[texts[index - 1], match[2]?.replace('&lt;', '<'), match[1], match[3]]]
  })
  const releases = texts.filter((text) => /^(?:never back|back at once|back after .*)$/.test(text)).map(release)
  expect(found.map((cells, index) => [...cells, releases[index]])).toEqual(
    rows.map((row) => [row[0], row[at('footprint')], row[at('retention')], String(rounds), row[at('release')]])
  )
}

/** The cells of the table between the markers of a page. */
function tableOf(page: string): string[][] {
  const [, table = ''] = /^<!-- bench: .*?-->\n(.*?)\n<!-- \/bench -->$/ms.exec(page) ?? []
  return table.split('\n').map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim())
  )
}
