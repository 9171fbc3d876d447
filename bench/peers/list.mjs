/** The peers: what is measured beside each other by `npm run bench`, and what is not to be had. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { descriptorLimit } from 'ebb/sys'

const here = (path) => fileURLToPath(new URL(path, import.meta.url))
/** Where `bench/install` puts what it brings and builds. */
const brought = (path) => here(`../.peers/${path}`)
const CLI = here('../../packages/ebb-lab/dist/cli/main.js')
const NETTY = ['buffer', 'common', 'resolver', 'transport'].map((part) => `/usr/share/java/netty-${part}.jar`)
const BUN = brought(`node_modules/@oven/bun-linux-${process.arch === 'arm64' ? 'aarch64' : 'x64'}/bin/bun`)
const DENO = brought(`node_modules/@deno/linux-${process.arch}-glibc/deno`)

/** A proxy has two descriptors for each connection: as many as those allow it, with some to spare. */
const PROXIED = Math.min(10_000, Math.floor((descriptorLimit() - 200) / 2))

/** The Node of that line that `bench/install` brought, or else the one that runs this. */
function node(line) {
  const path = brought(`node_modules/node-${line}/bin/node`)
  return !existsSync(path) && process.versions.node.startsWith(`${line}.`) ? process.execPath : path
}

/** `ebb serve`, run by that Node. */
export const ebbServe = (path) => [path, CLI, 'serve', '--port', '{port}']
/** Plain `node:net`, run by that Node. */
export const nodeNet = (path) => [path, here('../harness/servers/net.mjs'), '{port}']
/** The floor. */
export const C = {
  id: 'c',
  name: 'C, epoll',
  what: 'one thread, nothing kept for a connection: the floor',
  install: 'c',
  needs: [brought('bin/epoll')],
  command: [brought('bin/epoll'), '{port}'],
  version: () => `gcc ${told('gcc', '-dumpfullversion')}`
}

/** What Node of one line runs. */
function onNode(line) {
  const path = node(line)
  const common = { install: 'node', needs: [path], version: () => `Node ${told(path, '--version')}` }
  return {
    ebb: { ...common, what: '`ebb serve`, which is `listen()`', command: ebbServe(path) },
    net: { ...common, what: '`node:net`', command: nodeNet(path) },
    auto: {
      ...common,
      what: 'the same with `--import ebb/auto`',
      command: [path, '--import', createRequire(import.meta.url).resolve('ebb/auto'), ...nodeNet(path).slice(1)]
    }
  }
}

const [node20, node26] = [onNode('20'), onNode('26')]

/**
 * In the order of the table. `id`: for `--only`; `name`: at most 18 characters; `install`: what `bench/install` calls it; `needs`:
 * files, and programs in `PATH`, without which it is left out; `most`: connections that it can hold.
 */
export const PEERS = [
  C,
  { id: 'ebb', name: 'ebb, Node 20', ...node20.ebb },
  { id: 'ebb-26', name: 'ebb, Node 26', ...node26.ebb },
  { id: 'node-20', name: 'Node 20 net', ...node20.net },
  { id: 'auto-20', name: 'Node 20 + ebb/auto', ...node20.auto },
  { id: 'node-26', name: 'Node 26 net', ...node26.net },
  { id: 'auto-26', name: 'Node 26 + ebb/auto', ...node26.auto },
  {
    id: 'bun',
    name: 'Bun',
    what: '`Bun.listen`, which is uSockets',
    install: 'bun',
    needs: [BUN],
    command: [BUN, here('programs/bun.ts'), '{port}'],
    version: () => `Bun ${told(BUN, '--version')}`
  },
  {
    id: 'deno',
    name: 'Deno',
    what: '`Deno.listen`',
    install: 'deno',
    needs: [DENO],
    command: [DENO, 'run', '--quiet', '--allow-net', here('programs/deno.ts'), '{port}'],
    version: () => `Deno ${told(DENO, '--version')}`
  },
  ...[
    { id: 'go', name: 'Go net', what: 'a goroutine for each connection', binary: 'go-goroutines' },
    {
      id: 'go-free',
      name: 'Go net, freeing',
      what: 'the same with `debug.FreeOSMemory` every second',
      binary: 'go-goroutines',
      mode: 'free'
    },
    { id: 'go-epoll', name: 'Go, epoll', what: 'one goroutine and epoll, through `syscall`', binary: 'go-epoll' }
  ].map(({ binary, mode, ...peer }) => ({
    ...peer,
    install: 'go',
    needs: [brought(`bin/${binary}`)],
    command: [brought(`bin/${binary}`), '{port}', ...(mode ? [mode] : [])],
    version: () => `Go ${told('go', 'version')}`
  })),
  {
    id: 'tokio',
    name: 'Rust, Tokio',
    what: 'a task for each connection',
    install: 'tokio',
    needs: [brought('bin/tokio')],
    command: [brought('bin/tokio'), '{port}'],
    version: () =>
      `Tokio ${/name = "tokio"\nversion = "(.*)"/.exec(readFileSync(brought('tokio/Cargo.lock'), 'utf8'))?.[1]}`
  },
  {
    id: 'erlang',
    name: 'Erlang, gen_tcp',
    what: 'a process for each connection',
    install: 'erlang',
    needs: ['erl', brought('bin/discard.beam')],
    command: ['erl', '-noinput', '-pa', brought('bin'), '-run', 'discard', 'start', '{port}'],
    version: () => `OTP ${told('erl', '-noinput', '-eval', 'io:put_chars(erlang:system_info(otp_release)), halt().')}`
  },
  {
    id: 'java',
    name: 'Java, NIO',
    what: 'one thread and a selector',
    install: 'java',
    needs: ['java', brought('java/Nio.class')],
    command: ['java', '-cp', brought('java'), 'Nio', '{port}'],
    version: () => `OpenJDK ${told('java', '-version')}`
  },
  {
    id: 'netty',
    name: 'Java, Netty',
    what: 'the discard server of its guide',
    install: 'netty',
    needs: ['java', brought('java/Netty.class'), ...NETTY],
    command: ['java', '-cp', [brought('java'), ...NETTY].join(delimiter), 'Netty', '{port}'],
    version: () =>
      `Netty ${numberIn(readdirSync('/usr/share/java').find((name) => /^netty-buffer-/.test(name)))}, OpenJDK ${told('java', '-version')}`
  },
  ...[
    {
      id: 'nginx',
      name: 'nginx stream',
      what: 'a proxy to a server that drops; worker and master are one process',
      version: () => `nginx ${told(find('nginx'), '-v')}`
    },
    {
      id: 'haproxy',
      name: 'HAProxy TCP',
      what: 'a proxy to a server that drops',
      version: () => `HAProxy ${told(find('haproxy'), '-v')}`
    }
  ].map((peer) => ({
    ...peer,
    install: peer.id,
    needs: peer.id === 'nginx' ? ['nginx', '/usr/lib/nginx/modules/ngx_stream_module.so'] : ['haproxy'],
    command: [process.execPath, here('programs/proxy.mjs'), peer.id, '{port}', String(PROXIED)],
    most: PROXIED
  }))
]

/** What one would look for, and why it is not there. */
export const NOT_TO_BE_HAD = [
  'uWebSockets.js is not in the registry of npm, and serves HTTP and WebSocket alone; what it is made of, uSockets, is what `Bun.listen` uses.',
  'gnet, evio and netpoll, event loops for Go, are not in Debian; `Go, epoll` does by hand what they do underneath.'
]

/** Why a peer cannot be measured here, in one line, or undefined. */
export function missing({ needs, install }) {
  const lacking = needs.find((need) => find(need) === undefined)
  return lacking === undefined
    ? undefined
    : `${lacking.replace(here('../../'), '')} is not there (bench/install ${install})`
}

/** The path of a file or of a program, or undefined. Debian keeps servers in a directory that not everybody's `PATH` has. */
function find(need) {
  if (need.includes('/')) return existsSync(need) ? need : undefined
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin']
  return folders.map((folder) => join(folder, need)).find((path) => existsSync(path))
}

/** The version in what a program says. */
function told(program, ...args) {
  // Some say it on standard error.
  const text = execFileSync('sh', ['-c', 'exec "$@" 2>&1', 'sh', program, ...args], { encoding: 'utf8' })
  return numberIn(text)
}

function numberIn(text) {
  return /\d+(\.\d+)*/.exec(text)?.[0]
}
