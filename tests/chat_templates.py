"""Chat templates as their makers published them, and conversations to try them on."""

# Templates stand as they are.
# ruff: noqa: E501

from __future__ import annotations

ALTERNATE = "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"

TEMPLATES = {
    "chatml": (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
        "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "llama-2": (
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = "
        "messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}"
        "{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        + ALTERNATE
        + "{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + "
        "system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}"
        "{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    "llama-3": (
        "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
        "message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}"
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
    ),
    "mistral": (
        "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        + ALTERNATE
        + "{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% else %}"
        "{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
    ),
    "gemma": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        + ALTERNATE
        + "{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = "
        "message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + "
        "'<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"
    ),
    "phi-3": (
        "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\\n' + message['content'] + "
        "'<|end|>\\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}"
        "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
    ),
    "zephyr": (
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + "
        "eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + message['content'] + eos_token }}\n"
        "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n"
        "{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
    ),
    "smollm2": (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\\n' }}"
        "{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
}

# No model's: what the larger templates of today use, in one.
TOOLS = """\
{%- macro describe(tool, level=1) %}
{{- '#' * level ~ ' ' ~ tool.name | default('tool', true) }}: {{ tool.description | upper }}
{% endmacro -%}
{%- set ns = namespace(last=-1, thought='') -%}
{{- bos_token }}Date: {{ strftime_now('%d %b %Y') }}
{% if tools is defined and tools is not none %}
{%- for tool in tools | selectattr('name') | sort(attribute='name') %}
{{ describe(tool, level=loop.index) }}{{ tool | tojson(indent=2) }}
{% endfor %}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}
{%- endfor %}
{%- for message in messages if message.content is string %}
    {%- if message.role == 'tool' %}{% continue %}{% endif %}
    {%- if '</think>' in message.content %}
        {%- set ns.thought = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1] %}
    {%- endif %}
    {%- set role = {'user': 'U', 'assistant': 'A'}.get(message['role'], message.role[:1] | upper) -%}
    [{{ role }}{{ '!' if loop.index0 == ns.last }}] {{ message.content.split('</think>')[-1] | trim | replace('\\n', ' / ') }}
    {%- if message.tool_calls %}
        {%- for call in message.tool_calls %}{{ '\\n' }}{{ call.function | tojson }}{% endfor %}
    {%- endif %}
    {%- filter trim %}   <{{ message | length }}> {% endfilter %}
    {{- '\\n' if not loop.last else '' }}
{%- else %}nothing was said
{%- endfor %}
{%- set close %}({{ messages | map(attribute='role') | unique | join(', ') }}){% endset %}
{{ close }} {{ ns.thought | length }} {{ 7 // 2 }} {{ 7 % 4 }} {{ 2 ** 5 }} {{ -1 }} {{ 1.5 + 1 }} {{ missing }}|
{{- 'a' < 'b' }}{{ 3 is odd }}{{ [1, 2] + [3] }}{{ "%s-%s" % (1, '二') }}{{ '%05.1f' | format(2.25) }}{{ '{} {x}'.format(1, x=2) }}
{%- if add_generation_prompt %}
[A]{% endif %}"""

GENERATION = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}<a>{% generation %}{{ m.content }}</a>"
    "{% endgeneration %}{% else %}<u>{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)

CONVERSATIONS = [
    [{"role": "user", "content": "Hi"}],
    [
        {"role": "user", "content": "  你好，你是谁？\n"},
        {"role": "assistant", "content": "我是一个模型。"},
        {"role": "user", "content": "👩‍👩‍👧 and naïve?"},
    ],
    [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two\n\nlines "},
        {"role": "user", "content": "'three' \"四\" {{ 5 }} {% x %}"},
        {"role": "assistant", "content": "six"},
    ],
    [{"role": "system", "content": ""}, {"role": "user", "content": "an empty system prompt"}],
    [
        {"role": "system", "content": "Sei kurz."},
        {"role": "user", "content": "Ja"},
        {"role": "assistant", "content": "."},
    ],
]
