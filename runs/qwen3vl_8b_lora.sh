#!/usr/bin/env bash
# LoRA on a published Qwen3-VL: behaviour cloning on demonstrations of your tasks, then GRPO on the tasks, each compared with the start.
#
#   CHECKPOINT=models/Qwen3-VL-8B-Instruct TASKS=desk runs/qwen3vl_8b_lora.sh
#
# TASKS need a solution of their own (miniwob@demo, desk, forms, or your page: docs/your-own-page.md).
# Every step goes on where it was interrupted. Adapters have rank 32 at alpha 32 and rate 1e-4 for SFT, 1e-5 for RL. A
# checkpoint has them added to its weights; <output>/*/checkpoint/adapter has them alone, as vLLM and peft load them, to be put on what
# that step began with: CHECKPOINT for SFT, SFT's checkpoint for RL (adapter_config.json names it).
#
# GPUS is how many GPUs it takes, by default all of this machine. SFT trains on each of them. With two and more, RL plays while it learns:
# half of them train, the others sample. With one, it plays, then learns; with none, all of it computes on the processor. With 8B and four
# screenshots of 1920 x 1080 a prompt, a GPU should have 80 GB: docs/gpu-recipes.md has what is needed, what is to be expected, and
# settings for a 2B and for all weights. Nothing of this was run on more than one GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${CHECKPOINT:?a Qwen3-VL checkpoint directory}"
tasks=${TASKS:-miniwob@demo} output=${OUTPUT:-runs/qwen3vl-8b-lora} bin=${BIN:-.venv/bin} options=${OPTIONS:-'{}'}
sft_steps=${SFT_STEPS:-300} updates=${UPDATES:-40} episodes=${EPISODES:-5} batch=${BATCH:-16} tokens=${MAX_TOKENS:-512}
gpus=${GPUS:-$("$bin/python" -c 'import torch; print(torch.cuda.device_count())')}
ranks=$((gpus > 1 ? gpus : 1)) trainers=$((gpus > 1 ? gpus / 2 : 1))
if ((gpus)); then device=cuda; else device=cpu; fi
lora=(--set lora.rank=32 --set lora.alpha=32 --set optimizer.kind=adamw --set optimizer.beta2=0.98 --set activation_checkpointing=true)
agent=(--set agent.system=full --set agent.thought=action --set agent.grid=1 --set agent.screenshots="${SCREENSHOTS:-4}")
if ((batch % ranks)); then
  echo "BATCH is $batch; with $ranks GPUs it must be a multiple of that" >&2
  exit 1
fi

# 1. Where it starts: held-out seeds of every task.
evaluate=(--tasks "$tasks" --episodes "$episodes" --set "options=$options" --set max_tokens="$tokens" --set baselines=
  --set device="$device" --set environments="${EVALUATED:-4}" "${agent[@]}")
"$bin/stepladder" eval "$CHECKPOINT" --output "$output/evaluate/start" "${evaluate[@]}"

# 2. Behaviour cloning of the tasks' own solutions, the language model's adapters alone, one step of a demonstration a pass.
"$bin/stepladder" collect --tasks "$tasks" --output "$output/collect" --set episodes="${DEMONSTRATIONS:-40}" --set visits=0 \
  --set "options=$options"
"$bin/stepladder" sft --set checkpoint="$CHECKPOINT" --set demonstrations="$output/collect" --output "$output/sft" "${lora[@]}" \
  "${agent[@]}" --set ranks="$ranks" --set device="$device" \
  --set questions=0 --set screens=1 --set copying.steps=0 --set perception.steps=0 --set cloning.steps=0 \
  --set cloning_frozen.steps="$sft_steps" --set cloning_frozen.batch="$batch" --set cloning_frozen.accumulate=$((batch / ranks)) \
  --set cloning_frozen.visits=0 --set cloning_frozen.copies=0 --set cloning_frozen.pointing=0 --set cloning_frozen.lr=1e-4 \
  --set cloning_frozen.warmup=20 --set cloning_frozen.decay=0.5

# 3. GRPO: groups of eight, a constant normaliser, no KL term, truncated importance weights. A replica has 16 episodes at a time, and the
# visual tokens of four screenshots of each.
playing=(--set ranks=1)
if ((gpus > 1)); then
  replicas=$((gpus - trainers))
  playing=(--ray local --set ranks="$trainers" --set ray.replicas="$replicas" --set ray.replica_gpus=1 --set ray.replica_cpus=2
    --set ray.workers=$((2 * replicas)) --set ray.patience=600 --set engine.max_batch=16 --set engine.picture_tokens=131072)
fi
"$bin/stepladder" rl --algo grpo --checkpoint "$output/sft/checkpoint" --tasks "$tasks" --output "$output/rl" "${lora[@]}" \
  "${playing[@]}" --set device="$device" \
  --set updates="$updates" --set groups="${GROUPS_PER_UPDATE:-8}" --set group_size=8 --set rounds=1 \
  --set environments="${ENVIRONMENTS:-8}" \
  --set algo.dr=true --set algo.clip_high=0.28 --set optimizer.lr=1e-5 --set warmup=3 --set max_tokens="$tokens" \
  --set validation=2 --set evaluate_every=10 --set micro_batch=1 --set "options=$options"

# 4. The same held-out seeds again, and whether it is better.
"$bin/stepladder" eval "$output/rl/checkpoint" --output "$output/evaluate/rl" "${evaluate[@]}"
"$bin/stepladder" compare "$output/evaluate/start" "$output/evaluate/rl"
