/**
 * Patterns of allocation. Each grows to a peak in a given time, holds it, and drops it. `step(i)` is called at equal
 * intervals while memory grows.
 */
import { randomBytes, scrypt } from 'node:crypto'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import zlib from 'node:zlib'

/**
 * @typedef {object} Pattern
 * @property {number} steps number of steps to the peak
 * @property {(i: number) => unknown} step
 * @property {() => unknown} drop
 */

const TEXT = Buffer.alloc(20_000, 'the same few words again and again, as in most answers; ')

/** Contexts of compression, each made on a thread of the pool and freed on the main thread. */
function deflate() {
  /** @type {zlib.DeflateRaw[]} */
  const contexts = []
  return {
    steps: 400,
    step: async () => {
      const context = zlib.createDeflateRaw()
      context.on('data', () => {})
      context.write(TEXT)
      contexts.push(context)
      await new Promise((resolve) => context.flush(() => resolve(undefined)))
    },
    drop: () => {
      for (const context of contexts.splice(0)) context.close()
    }
  }
}

/** Compressed answers, 20 at a time: contexts come and go. */
function gzip() {
  const answer = Buffer.concat(Array.from({ length: 10 }, () => TEXT))
  return {
    steps: 100,
    step: () =>
      Promise.all(
        Array.from({ length: 20 }, () => new Promise((resolve) => zlib.gzip(answer, (_, zipped) => resolve(zipped))))
      ),
    drop: () => {}
  }
}

/** Hashes of passwords: 16 MiB each, on the threads of the pool. */
function passwords() {
  return {
    steps: 25,
    step: () =>
      Promise.all(
        Array.from(
          { length: 4 },
          () => new Promise((resolve) => scrypt('password', 'salt', 32, (_, key) => resolve(key)))
        )
      ),
    drop: () => {}
  }
}

/** Images, as sharp holds them: buffers of 0.2 to 3 MB, with small objects that stay between them. */
function images() {
  /** @type {Buffer[]} */
  let pixels = []
  /** @type {Buffer[]} */
  const thumbnails = []
  return {
    steps: 150,
    step: (/** @type {number} */ i) => {
      pixels.push(Buffer.allocUnsafeSlow(200_000 + (i % 8) * 400_000).fill(1))
      thumbnails.push(Buffer.allocUnsafeSlow(5000).fill(1))
      // Half of them are done at once.
      if (i % 2 === 1) pixels.splice(Math.floor(pixels.length / 2), 1)
    },
    drop: () => {
      pixels = []
    }
  }
}

/** Many buffers of 15 KB, every fourth followed by a smaller one that stays for a while. */
function pieces() {
  /** @type {Buffer[]} */
  let pieces = []
  /** @type {Buffer[]} */
  let kept = []
  return {
    steps: 200,
    step: () => {
      for (let i = 0; i < 40; i++) {
        pieces.push(Buffer.allocUnsafeSlow(15_000).fill(1))
        if (i % 4 === 0) kept.push(Buffer.allocUnsafeSlow(9000).fill(1))
      }
    },
    drop: () => {
      pieces = []
      kept = kept.filter((_, i) => i % 50 === 0)
    }
  }
}

/** Parsed JSON of requests that wait for their answers. */
function json() {
  const text = JSON.stringify(
    Array.from({ length: 500 }, (_, i) => ({ id: i, name: `name ${i}`, tags: ['a', 'b', `${i}`] }))
  )
  /** @type {unknown[]} */
  let waiting = []
  return {
    steps: 300,
    step: () => {
      waiting.push(JSON.parse(text), Buffer.from(JSON.stringify(JSON.parse(text))))
    },
    drop: () => {
      waiting = []
    }
  }
}

/** Worker threads that hold buffers and objects, and live on. */
function workers() {
  const source = `
    const { parentPort } = require('node:worker_threads')
    let held = []
    parentPort.on('message', (what) => {
      if (what === 'drop') held = []
      else {
        held.push(Buffer.allocUnsafeSlow(300_000).fill(1))
        held.push(Array.from({ length: 2000 }, (_, i) => ({ i, text: String(i) })))
      }
      parentPort.postMessage(what)
    })`
  /** @type {Worker[]} */
  const all = []
  const ask = (/** @type {string} */ what) =>
    Promise.all(
      all.map(async (worker) => {
        worker.postMessage(what)
        await once(worker, 'message')
      })
    )
  return {
    steps: 100,
    step: async (/** @type {number} */ i) => {
      while (i === 0 && all.length < 3) all.push(new Worker(source, { eval: true }))
      await ask('grow')
    },
    drop: () => ask('drop')
  }
}

/** Worker threads that end with what they held. */
function ended() {
  /** @type {Worker[]} */
  const started = []
  process.on('worker', (worker) => started.push(worker))
  return { ...workers(), drop: () => Promise.all(started.map((worker) => worker.terminate())) }
}

/** Answers of 5 MB that are written and gone. */
function answers() {
  return {
    steps: 100,
    step: async (/** @type {number} */ i) => {
      for (let j = 0; j < 3; j++) Buffer.allocUnsafeSlow(5_000_000).fill(i)
      await new Promise((resolve) => setImmediate(resolve))
    },
    drop: () => randomBytes(1)
  }
}

/**
 * @typedef {'deflate' | 'gzip' | 'passwords' | 'images' | 'pieces' | 'json' | 'workers' | 'ended' | 'answers'}
 *   PatternName
 */

/** @type {Readonly<Record<PatternName, () => Pattern>>} */
export const PATTERNS = { deflate, gzip, passwords, images, pieces, json, workers, ended, answers }
